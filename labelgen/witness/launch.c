/*
 * Starts User Mode Linux so that it runs on processors with AMX too: launch IMAGE ARGUMENT...
 *
 * UML 6.1 saves the registers of its processes in 2,696 bytes (arch/x86/um/user-offsets.c). Where a processor has more
 * of them the host takes back only all (arch/x86/kernel/fpu/regset.c, xstateregs_set), and UML ends in a panic at its
 * first program. A host that refuses NT_X86_XSTATE from the beginning makes UML keep the older set instead
 * (arch/x86/um/os-Linux/registers.c, arch_init_registers), on every processor; each process of the guest is a process
 * of the host, which keeps the rest of its registers by itself.
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
