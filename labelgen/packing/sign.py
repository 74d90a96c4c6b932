"""Signatures of packages: GnuPG makes them, with keys of its own keyring and agent; rpm checks them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from labelgen import programs
from labelgen.errors import InputError

# A key as GnuPG finds one: its id, its fingerprint, or the address in it. It stands in a macro of rpm.
KEY_ID = re.compile(r"(0x)?[0-9A-Fa-f]{8,40}\Z|[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+\Z")


class Key(NamedTuple):
    """The key to sign with: its name, and a file with its passphrase where no agent is to ask for one."""

    name: str
    passphrase: Optional[Path]


def _gpg_options(passphrase: Optional[Path]) -> list[str]:
    return ["--pinentry-mode", "loopback", "--passphrase-file", str(passphrase)] if passphrase else []


def check_key(key: Key) -> None:
    """Refuse a key that cannot sign, before anything is built. Raises InputError."""
    if not KEY_ID.match(key.name):
        raise InputError(f"{key.name!r} is no key", "name it by its id, its fingerprint or the address in it")
    if key.passphrase and not key.passphrase.is_file():
        raise InputError(f"{key.passphrase}: there is no such file with a passphrase")
    try:
        programs.run("gpg", "--batch", "--list-secret-keys", key.name)
    except programs.ProgramFailed as error:
        raise InputError(
            f"GnuPG has no secret key {key.name}", "`gpg --list-secret-keys` shows those it has"
        ) from error


def _words_of_gpg(said: str) -> list[str]:
    """What GnuPG says in the words of a program that started it, each line once: rpmsign tries with every package."""
    own = [line for line in said.splitlines() if line.startswith("gpg: ")]
    return list(dict.fromkeys(own)) or said.splitlines()


def _not_signed(what: str, key: Key, error: programs.ProgramFailed) -> InputError:
    said = "\n".join(_words_of_gpg(error.stderr))
    hint = None if key.passphrase else "GnuPG's agent asks for the passphrase at a terminal; --passphrase-file gives it"
    return InputError(f"{what} could not be signed with the key {key.name}:\n{said}", hint)


def sign_packages(key: Key, files: Sequence[Path]) -> None:
    """Sign packages where they are. Raises InputError where GnuPG will not."""
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        extra = "--batch --yes"
        if key.passphrase:
            # The path goes through a macro and a shell: it gets a name that neither minds.
            link = Path(scratch) / "passphrase"
            link.symlink_to(key.passphrase.resolve())
            extra += f" --pinentry-mode loopback --passphrase-file {link}"
        defines = {"_gpg_name": key.name, "_gpg_sign_cmd_extra_args": extra, "__gpg": programs.find("gpg")}
        words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
        try:
            programs.run("rpmsign", *words, "--addsign", *files)
        except programs.ProgramFailed as error:
            raise _not_signed("the packages", key, error) from error


def sign_file(key: Key, file: Path) -> Path:
    """A detached signature of a file, beside it."""
    signature = file.with_name(f"{file.name}.asc")
    options = ["--batch", "--yes", *_gpg_options(key.passphrase), "--local-user", key.name, "--armor"]
    try:
        programs.run("gpg", *options, "--output", signature, "--detach-sign", file)
    except programs.ProgramFailed as error:
        raise _not_signed(file.name, key, error) from error
    return signature


def _words(program: str, *arguments: programs.Argument) -> str:
    """What a program prints, to either stream, whether it succeeds or not."""
    shell = '"$@" 2>&1 || :'
    done = programs.run("sh", "-c", shell, "sh", programs.find(program), *arguments)
    return done.stdout.decode("utf-8", "replace")


def package_signature(file: Path, public_key: Optional[Path], signatures: int) -> list[str]:
    """What is wrong with the digests and signatures of a package, as rpm sees it: with one public key, or with those
    that this host's rpm trusts. rpm passes over a signature that it cannot read: all `signatures` must be named.

    Raises InputError for a file that holds no public key.
    """
    with tempfile.TemporaryDirectory(prefix="labelgen-") as scratch:
        where = []
        if public_key:
            where = ["--dbpath", f"{scratch}/db"]
            try:
                programs.run("rpmkeys", *where, "--import", public_key)
            except programs.ProgramFailed as error:
                raise InputError(
                    f"{public_key}: rpm finds no public key in this file", "`gpg --export --armor KEYID` writes one"
                ) from error
        said = _words("rpmkeys", *where, "--checksig", "--verbose", file)
    lines = [line.strip() for line in said.splitlines()[1:]]
    if not lines:
        return [f"rpm cannot check it: {said.strip()}"]
    wrong = [_told(line, public_key) for line in lines if not line.endswith(": OK")]
    if not wrong and sum(" Signature, " in line for line in lines) < signatures:
        wrong.append("rpm cannot read the signature")
    return wrong


def _told(line: str, public_key: Optional[Path]) -> str:
    if line.endswith(": NOKEY"):
        whose = (
            "is not by the key given"
            if public_key
            else "is by a key that this host's rpm does not know; give it with --key"
        )
        return f"the signature {whose} ({line[: -len(': NOKEY')]})"
    return f"rpm says: {line}"


def file_signature(file: Path, signature: Path, public_key: Path) -> list[str]:
    """What is wrong with a detached signature. Raises InputError for a file that holds no public key."""
    with tempfile.TemporaryDirectory(prefix="labelgen-") as home:
        options = ["--homedir", home, "--batch", "--no-autostart"]
        try:
            programs.run("gpg", *options, "--import", public_key)
        except programs.ProgramFailed as error:
            raise InputError(f"{public_key}: GnuPG finds no public key in this file") from error
        try:
            programs.run("gpg", *options, "--verify", signature, file)
        except programs.ProgramFailed as error:
            return [f"{file}: its signature {signature.name} does not hold: {_words_of_gpg(error.stderr)[-1]}"]
    return []
