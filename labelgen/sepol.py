"""What the program pp does, by the library that does it there: of a small module most of what pp costs is its start.

The functions are those that pp calls (policycoreutils, hll/pp/pp.c); libsepol exports them since 2.4.
"""

from __future__ import annotations

import ctypes
import re
import threading
from functools import cache
from typing import Optional

LIBRARY = "libsepol.so.2"

_POINTER = ctypes.POINTER(ctypes.c_void_p)
# name -> what it takes; each that returns something returns 0 where it did its work.
_LIBSEPOL = {
    "sepol_policy_file_create": (_POINTER,),
    "sepol_policy_file_set_mem": (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
    "sepol_policy_file_free": (ctypes.c_void_p,),
    "sepol_module_package_create": (_POINTER,),
    "sepol_module_package_read": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
    "sepol_module_package_to_cil": (ctypes.c_void_p, ctypes.c_void_p),
    "sepol_module_package_free": (ctypes.c_void_p,),
}
_LIBC = {"fclose": (ctypes.c_void_p,), "free": (ctypes.c_void_p,)}
# module_to_cil.c writes to a stream that is a variable of the whole process,
_alone = threading.Lock()
# and counts through all modules of a process in the names that it gives to sets of types: those would be others each
# time, and than pp's.
_NUMBERED = re.compile(rb"_typeattr_[0-9]")


@cache
def _libraries() -> Optional[tuple[ctypes.CDLL, ctypes.CDLL]]:
    """libsepol and the C library; None where this machine has none with these functions."""
    try:
        sepol, libc = ctypes.CDLL(LIBRARY), ctypes.CDLL(None)
        for library, functions in ((sepol, _LIBSEPOL), (libc, _LIBC)):
            for name, takes in functions.items():
                getattr(library, name).argtypes = takes
        libc.open_memstream.argtypes = (_POINTER, ctypes.POINTER(ctypes.c_size_t))
        libc.open_memstream.restype = ctypes.c_void_p
    except (OSError, AttributeError):
        return None
    return sepol, libc


def package_to_cil(package: bytes) -> Optional[bytes]:
    """The CIL of a module package (.pp), byte for byte as pp prints it; None where libsepol cannot be called, refuses
    it, or would not print the same: then it is pp that must be asked."""
    libraries = _libraries()
    if libraries is None:
        return None
    with _alone:
        cil = _converted(*libraries, package)
    return None if cil is None or _NUMBERED.search(cil) else cil


def _converted(sepol: ctypes.CDLL, libc: ctypes.CDLL, package: bytes) -> Optional[bytes]:
    file, read, text = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    size = ctypes.c_size_t()
    try:
        if sepol.sepol_policy_file_create(file) or sepol.sepol_module_package_create(read):
            return None
        sepol.sepol_policy_file_set_mem(file, package, len(package))
        stream = libc.open_memstream(text, size)
        if not stream:
            return None
        failed = sepol.sepol_module_package_read(read, file, 0) or sepol.sepol_module_package_to_cil(stream, read)
        # Only with its end is all of it there.
        return None if libc.fclose(stream) or failed else ctypes.string_at(text, size.value)
    finally:
        sepol.sepol_module_package_free(read)
        sepol.sepol_policy_file_free(file)
        libc.free(text)
