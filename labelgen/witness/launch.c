/*
 * Starts User Mode Linux so that it runs on processors with AMX too: launch IMAGE ARGUMENT...
 *
 * UML 6.1 keeps the registers of its processes in room whose size was fixed when it was compiled (FP_SIZE in
 * arch/x86/um/os-Linux/registers.c). Where a processor has more of them the host does not take a part of them back, and
 * UML ends in a panic at its first program (measured on a processor with AMX). UML asks once whether the host knows
 * NT_X86_XSTATE (arch_init_registers, same file), and where it does not keeps the older set instead; so the host denies
 * it, on every processor. Each process of the guest is a process of the host, which keeps the rest of its registers.
 */
#include <elf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IS(value, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (otherwise))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))

static struct sock_filter no_xstate[] = {
	LOAD(nr), IS(SYS_ptrace, 5),
	LOAD(args[0]), IS(PTRACE_GETREGSET, 3),
	LOAD(args[2]), IS(NT_X86_XSTATE, 1),
	RETURN(SECCOMP_RET_ERRNO | EIO),
	RETURN(SECCOMP_RET_ALLOW),
};

int main(int argc, char **argv)
{
	struct sock_fprog filter = { sizeof no_xstate / sizeof *no_xstate, no_xstate };

	if (argc < 2)
		return 2;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		perror("seccomp"); /* A host without it may still do. */
	execv(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
