/* The probe: PID 1 of the witness. It reads /script, does what each line says, and answers each line with one line.
 *
 *   line of the script                   what it does
 *   ----------------------------------   --------------------------------------------------------------------------
 *   module PATH                          loads a kernel module
 *   sysctl PATH VALUE                    writes VALUE ("_" for a space, "-" for nothing) to /proc/sys/PATH, reads it back
 *   policy PATH                          loads a binary policy with one write
 *   actor LABEL                          forks a process and gives it LABEL ("-": that of PID 1); numbered from 0
 *   enforce                              from here on the policy is enforced
 *   job ACTOR FRESH VALUES STEPS         ACTOR runs STEPS; the last of them once for each of VALUES ("1-512,600")
 *   keep ACTOR FIRST STEPS               ACTOR runs STEPS, leaves their descriptors open, keeps results from slot FIRST
 *   open FIRST STEPS                     as keep, but PID 1 itself, so that every actor inherits the descriptors
 *   label ACTOR                          the label that ACTOR has by now
 *   end
 *
 * STEPS are system calls separated by ";", their arguments:
 *   12 -1 0x10   a number             =2      the result of step 2 of this line      @7   slot 7
 *   x0a0b        these bytes          p0a0b   these bytes, 2 and 3 of them the value of the sweep, high byte first
 *   z64          64 zero bytes        v64     an iovec of 64 zero bytes              $    the value of the sweep
 *   stext        a string                f7,/proc/%  a string, slot 7 in it
 *   &3.4         the bytes of argument 4 (from 0) of step 3 of this line, where the kernel may have written
 * A connect that is in progress counts as one that succeeded: what comes of it shows later. Two of the calls are made of several: `give SOCKET DESCRIPTOR` sends a descriptor, `receive SOCKET` takes one, or
 * answers ENOMSG where a message came without (unix(7), SCM_RIGHTS).
 *
 * An answer is STEP.ERRNO of the step that failed, or ok, repeated *COUNT times. The last line carries the CRC-32 of all
 * bytes before it.
 *
 * None of this needs a permission once the policy is enforced, or the probe would ask something of the policy. Answers go
 * through memory shared with PID 1. Whether the kernel enforces is read from the status page of selinuxfs, mapped before.
 * PID 1 reads the label of an actor before anything is enforced; after that the actor reads it of the kernel, through a
 * descriptor of its own from before, which it may go on using (hooks.c: selinux_file_permission), and nobody is asked
 * about oneself (selinux_getprocattr). The report, too, is opened again when the policy is there.
 *
 * Where the kernel prints denials, kauditd does, when nobody else wants the processor, and it sleeps only when all are
 * printed (kernel/audit.c: kauditd_thread). The end waits for that, or the last ones would be lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { ACTORS = 256, SLOTS = 4096, STEPS = 12, VALUES = 65536, BYTES = 512, PATIENCE_SECONDS = 150, KERNEL_THREADS = 512 };
enum { IDLE, WORK, DONE };
enum { GIVE = -1, RECEIVE = -2 };

struct argument { char kind; long number, place; unsigned char bytes[BYTES]; struct iovec vector; };
struct step { long number; int count; struct argument arguments[6]; };
struct status { uint32_t version, sequence, enforcing, policyload, deny_unknown; };

/* What actors and PID 1 share. `state` is a futex for each actor. */
static struct shared {
	uint32_t state[ACTORS];
	uint32_t line;                  /* offset of the line of /script to work on */
	uint32_t answered;
	long kept[SLOTS];
	char label[256];                /* of the actor that was asked */
	uint16_t answers[VALUES];       /* step << 12 | errno; a step past the last one: all succeeded */
} *shared;

static const char *script;
static volatile struct status *status;
static pid_t actors[ACTORS];
static int actor_count, line_number, own_label;
static uint32_t crc = ~0u;
static FILE *report;
static int printer = -1;
static struct step steps[STEPS];
static const char *const OWN_LABEL = "/proc/self/attr/current";

#define CALL(name) { #name, SYS_##name }
static const struct call { const char *name; long number; } calls[] = {
	CALL(accept4), CALL(acct), CALL(add_key), CALL(bind), CALL(bpf), CALL(capset), CALL(chmod), CALL(chown), CALL(chroot),
	CALL(clock_settime), CALL(close), CALL(connect), CALL(delete_module), CALL(fchmod), CALL(fchown), CALL(fcntl),
	CALL(fsetxattr), CALL(getpeername), CALL(getpgid), CALL(getpid), CALL(getsid), CALL(getsockname), CALL(getsockopt),
	CALL(ioctl), CALL(ioprio_get), CALL(ioprio_set), CALL(kcmp), CALL(keyctl), CALL(kill), CALL(link), CALL(listen),
	CALL(mkdir), CALL(mknod), CALL(mlock), CALL(mmap), CALL(mount), CALL(mq_notify), CALL(mq_open),
	CALL(mq_timedreceive), CALL(mq_timedsend), CALL(msgctl), CALL(msgget), CALL(msgrcv), CALL(msgsnd), CALL(nanosleep),
	CALL(open), CALL(openat), CALL(perf_event_open), CALL(pidfd_getfd), CALL(pidfd_open), CALL(pipe2), CALL(prctl),
	CALL(prlimit64), CALL(process_vm_readv), CALL(process_vm_writev), CALL(ptrace), CALL(read), CALL(readlink),
	CALL(reboot), CALL(recvfrom), CALL(rename), CALL(sched_getaffinity), CALL(sched_getscheduler),
	CALL(sched_setaffinity), CALL(sched_setscheduler), CALL(semctl), CALL(semget), CALL(semop), CALL(sendto),
	CALL(setdomainname), CALL(setgroups), CALL(sethostname), CALL(setns), CALL(setpgid), CALL(setpriority),
	CALL(setresgid), CALL(setresuid), CALL(setrlimit), CALL(setsockopt), CALL(setxattr), CALL(shmat), CALL(shmctl),
	CALL(shmget), CALL(shutdown), CALL(socket), CALL(socketpair), CALL(stat), CALL(swapon), CALL(symlink), CALL(syslog),
	CALL(timerfd_create), CALL(truncate), CALL(umask), CALL(umount2), CALL(unlink), CALL(unshare), CALL(utimensat),
	CALL(write), CALL(fchmodat), CALL(linkat), CALL(newfstatat), CALL(unlinkat), { "give", GIVE }, { "receive", RECEIVE },
#ifdef SYS_ioperm
	CALL(ioperm),
#endif
};

static void say(const char *format, ...)
{
	char text[128];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	for (int i = 0; i < length; i++) {
		crc ^= (unsigned char)text[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
	}
	fwrite(text, 1, length, report);
}

static void stop(void)
{
	fflush(report);
	tcdrain(fileno(report));
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* The last words when a line cannot be carried out; what is missing then is missed by the reader. */
static void give_up(const char *what, int error)
{
	say("%d failed %s %s\n", line_number, what, strerror(error));
	stop();
}

static const char *word(const char **text, char *buffer, size_t size)
{
	size_t length = 0;

	while (**text == ' ')
		++*text;
	while (**text && **text != ' ' && **text != '\n') {
		if (length + 1 == size)
			give_up("word too long", E2BIG);
		buffer[length++] = *(*text)++;
	}
	buffer[length] = 0;
	return buffer;
}

static long integer(const char **text)
{
	char *end;
	long value = strtol(*text, &end, 0);

	if (end == *text)
		give_up("not a number", EINVAL);
	*text = end;
	return value;
}

static int nibble(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

/* The text after its comma with the number in `slot` where the '%' stands. */
static void insert_slot(char *into, const char *text, long slot)
{
	const char *place = text ? strchr(++text, '%') : NULL;

	if (!place)
		give_up("no place for a slot", EINVAL);
	snprintf(into, BYTES, "%.*s%ld%s", (int)(place - text), text, shared->kept[slot], place + 1);
}

static void parse_argument(struct argument *argument, const char *text)
{
	argument->kind = strchr("=@&xpzv$sf", *text) ? *text++ : '#';
	memset(argument->bytes, 0, sizeof argument->bytes);
	if (strchr("#=@&zvf", argument->kind))
		argument->number = strtol(text, NULL, 0);
	if (argument->kind == '&')
		argument->place = strtol(text + strcspn(text, ".") + 1, NULL, 10);
	if (argument->kind == 'f')
		insert_slot((char *)argument->bytes, strchr(text, ','), argument->number);
	else if (argument->kind == 's')
		strcpy((char *)argument->bytes, text);
	else if (strchr("xp", argument->kind))
		for (int i = 0; text[0] && text[1] && i < BYTES; i++, text += 2)
			argument->bytes[i] = nibble(text[0]) << 4 | nibble(text[1]);
	argument->vector = (struct iovec){ argument->bytes, argument->number };
}

static long call_number(const char *name)
{
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (!strcmp(calls[i].name, name))
			return calls[i].number;
	give_up(name, ENOSYS);
	return -1;
}

/* The steps up to the end of the line. */
static int parse_steps(const char *text)
{
	char token[BYTES];
	int count = -1;

	for (const char *separator = ";"; ; separator = token) {
		if (!strcmp(separator, ";")) {
			if (++count == STEPS)
				give_up("too many steps", E2BIG);
			steps[count].number = call_number(word(&text, token, sizeof token));
			steps[count].count = 0;
		} else {
			if (steps[count].count == 6)
				give_up("too many arguments", E2BIG);
			parse_argument(&steps[count].arguments[steps[count].count++], token);
		}
		if (!*word(&text, token, sizeof token))
			return count + 1;
	}
}

static long argument_value(struct argument *argument, const long *results, long value)
{
	switch (argument->kind) {
	case '#': return argument->number;
	case '=': return results[argument->number];
	case '@': return shared->kept[argument->number];
	case '&': return (long)steps[argument->number].arguments[argument->place].bytes;
	case '$': return value;
	case 'v': return (long)&argument->vector;
	case 'p':
		argument->bytes[2] = value >> 8;
		argument->bytes[3] = value;
	}
	return (long)argument->bytes;
}

/* A message of one byte and, to send, one descriptor; the descriptor that came, or -1. */
static long pass_descriptor(long number, int socket, int given)
{
	union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr alignment; } control = { .room = { 0 } };
	struct iovec byte = { &(char){ 0 }, 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	if (number == GIVE) {
		*header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof given), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(header), &given, sizeof given);
		return sendmsg(socket, &message, MSG_DONTWAIT);
	}
	if (recvmsg(socket, &message, MSG_DONTWAIT) == -1)
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS) {
		errno = ENOMSG;
		return -1;
	}
	memcpy(&given, CMSG_DATA(header), sizeof given);
	return given;
}

static long run_step(struct step *step, const long *results, long value)
{
	long arguments[6] = { 0 };

	for (int i = 0; i < step->count; i++)
		arguments[i] = argument_value(&step->arguments[i], results, value);
	if (step->number < 0)
		return pass_descriptor(step->number, arguments[0], arguments[1]);
	return syscall(step->number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

/* Runs the steps from `first` up to before `last`; the answer so far. */
static uint16_t run_steps(int first, int last, long *results, long value)
{
	for (int i = first; i < last; i++)
		if ((results[i] = run_step(&steps[i], results, value)) == -1 && errno != EINPROGRESS)
			return i << 12 | (errno & 0xfff);
	return last << 12;
}

static void close_above(int descriptor) { syscall(SYS_close_range, descriptor, ~0u, 0); }

/* The state of a sweep: what its preparation came to, and the first descriptor that it opened. */
struct sweep { int fresh, count, base; uint16_t prepared; long results[STEPS]; };

/* SELinux refuses before the protocol has done anything, so that a refused socket is used again. So is one that had no
 * route, unless `fresh`. */
static int reusable(struct sweep *sweep, int error)
{
	return error == EACCES || (!sweep->fresh && (error == ENETUNREACH || error == EOPNOTSUPP));
}

/* One value; 0 when the preparation failed, which ends the sweep: its one answer holds for every value. */
static int sweep_value(struct sweep *sweep, long value)
{
	int last = sweep->count - 1;
	uint16_t answer;

	if (sweep->prepared != last << 12) {
		close_above(sweep->base);
		sweep->prepared = run_steps(0, last, sweep->results, value);
	}
	answer = sweep->prepared == last << 12 ? run_steps(last, sweep->count, sweep->results, value) : sweep->prepared;
	shared->answers[shared->answered++] = answer;
	if (answer >> 12 != last || !reusable(sweep, answer & 0xfff))
		sweep->prepared = 0xffff;
	return answer >> 12 >= last;
}

static void run_sweep(const char *values, int fresh, int count)
{
	struct sweep sweep = { .fresh = fresh, .count = count, .base = fcntl(0, F_DUPFD, 0), .prepared = 0xffff };

	close(sweep.base);
	shared->answered = 0;
	for (int going = 1; going; values++) {
		long first = integer(&values), last = *values == '-' ? (values++, integer(&values)) : first;

		for (long value = first; value <= last && going; value++)
			going = sweep_value(&sweep, value);
		if (*values != ',')
			break;
	}
	close_above(sweep.base);
}

static void keep(long slot, int count)
{
	long results[STEPS];

	shared->answers[0] = run_steps(0, count, results, 0);
	shared->answered = 1;
	for (int i = 0; i < count; i++)
		shared->kept[slot + i] = i < shared->answers[0] >> 12 ? results[i] : -1;
}

static void futex(uint32_t *word, int operation, uint32_t value)
{
	struct timespec second = { 1, 0 };

	syscall(SYS_futex, word, operation, value, operation == FUTEX_WAIT ? &second : NULL, NULL, 0);
}

static void set_state(int actor, uint32_t value)
{
	__atomic_store_n(&shared->state[actor], value, __ATOMIC_SEQ_CST);
	futex(&shared->state[actor], FUTEX_WAKE, 1);
}

/* What was read of a small file, its spaces as '_', or "!" and the errno. */
static const char *as_word(char *text, ssize_t size, size_t room)
{
	if (size < 0)
		size = snprintf(text, room, "!%d", errno);
	while (size > 0 && (text[size - 1] == '\n' || !text[size - 1]))
		size--;
	text[size] = 0;
	for (char *c = text; *c; c++)
		if (*c == ' ' || *c == '\t' || *c == '\n')
			*c = '_';
	return *text ? text : "-";
}

static void work(int actor)
{
	char verb[16];
	const char *line = script + shared->line;

	word(&line, verb, sizeof verb);
	integer(&line);
	if (!strcmp(verb, "label")) {
		as_word(shared->label, pread(own_label, shared->label, sizeof shared->label - 1, 0), sizeof shared->label);
		set_state(actor, DONE);
		return;
	}
	long number = integer(&line);
	if (!strcmp(verb, "keep")) {
		keep(number, parse_steps(line));
	} else {
		const char *values = ++line;
		line += strcspn(line, " ");
		run_sweep(values, number, parse_steps(line));
	}
	set_state(actor, DONE);
}

static void act(int actor)
{
	for (;;) {
		uint32_t state = __atomic_load_n(&shared->state[actor], __ATOMIC_SEQ_CST);
		if (state == WORK)
			work(actor);
		else
			futex(&shared->state[actor], FUTEX_WAIT, state);
	}
}

static int write_file(const char *path, const void *bytes, size_t size)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written = file < 0 ? -1 : write(file, bytes, size);
	int error = written == (ssize_t)size ? 0 : errno ? errno : EIO;

	close(file);
	return error;
}

static const char *read_file(const char *path)
{
	static char text[256];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	const char *found = as_word(text, file < 0 ? -1 : read(file, text, sizeof text - 1), sizeof text);

	close(file);
	return found;
}

static void do_module(const char *line)
{
	char path[BYTES];
	int file = open(word(&line, path, sizeof path), O_RDONLY | O_CLOEXEC);

	say("%d module %d\n", line_number, syscall(SYS_finit_module, file, "", 0) ? errno : 0);
	close(file);
}

static void do_sysctl(const char *line)
{
	char name[BYTES], value[BYTES], path[BYTES + 16];

	word(&line, name, sizeof name);
	word(&line, value, sizeof value);
	if (!strcmp(value, "-"))
		strcpy(value, "\n");
	for (char *c = value; *c; c++)
		if (*c == '_')
			*c = ' ';
	snprintf(path, sizeof path, "/proc/sys/%s", name);
	int error = write_file(path, value, strlen(value));
	say("%d sysctl %d %s\n", line_number, error, read_file(path));
}

static void open_report(void)
{
	struct termios raw;
	const char *path = getenv("report");
	int file = open(path ? path : "/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	report = file < 0 ? stdout : fdopen(file, "w");
	if (!tcgetattr(fileno(report), &raw)) {
		cfmakeraw(&raw);
		tcsetattr(fileno(report), TCSANOW, &raw);
	}
}

static void do_policy(const char *line)
{
	char path[BYTES];
	struct stat size;
	int file = open(word(&line, path, sizeof path), O_RDONLY | O_CLOEXEC);

	if (file < 0 || fstat(file, &size))
		give_up("the policy in the initramfs", errno);
	void *bytes = mmap(NULL, size.st_size, PROT_READ, MAP_PRIVATE, file, 0);
	int error = write_file("/sys/fs/selinux/load", bytes, size.st_size);
	say("%d policy %d %lld\n", line_number, error, (long long)size.st_size);
	if (error)
		stop();
	close(file);
	munmap(bytes, size.st_size);
	unlink(path);
	fclose(report);
	open_report();
}

static const char *label_of(int actor)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/attr/current", actors[actor]);
	return read_file(path);
}

/* In the actor: takes the label, and keeps a descriptor to read it by. */
static int become(const char *label)
{
	int error = strcmp(label, "-") ? write_file(OWN_LABEL, label, strlen(label) + 1) : 0;

	own_label = open(OWN_LABEL, O_RDONLY | O_CLOEXEC);
	return error ? error : own_label < 0 ? errno : 0;
}

static void do_actor(const char *line)
{
	char label[256];
	int actor = actor_count++;

	if (actor == ACTORS)
		give_up("too many actors", E2BIG);
	word(&line, label, sizeof label);
	fflush(report);
	actors[actor] = fork();
	if (!actors[actor]) {
		shared->answers[0] = become(label);
		set_state(actor, DONE);
		act(actor);
	}
	while (shared->state[actor] != DONE)
		futex(&shared->state[actor], FUTEX_WAIT, IDLE);
	say("%d actor %d %s %d\n", line_number, shared->answers[0], label_of(actor), actors[actor]);
}

static void find_printer(void)
{
	char path[64];

	for (int pid = 2; printer < 0 && pid < KERNEL_THREADS; pid++) {
		snprintf(path, sizeof path, "/proc/%d/comm", pid);
		if (strcmp(read_file(path), "kauditd"))
			continue;
		snprintf(path, sizeof path, "/proc/%d/stat", pid);
		printer = open(path, O_RDONLY | O_CLOEXEC);
	}
}

static void wait_for_printer(void)
{
	const struct timespec moment = { 0, 1000000 };
	char text[64] = "";

	while (printer >= 0 && !strstr(text, "(kauditd) S")) {
		if (*text)
			nanosleep(&moment, NULL);
		ssize_t length = pread(printer, text, sizeof text - 1, 0);
		if (length <= 0)
			give_up("whether all denials are printed", errno);
		text[length] = 0;
	}
}

static void do_enforce(void)
{
	char text[16];

	find_printer();
	int file = open("/sys/fs/selinux/enforce", O_RDWR | O_CLOEXEC);
	int error = file >= 0 && write(file, "1", 1) == 1 ? 0 : errno;
	const char *now = as_word(text, pread(file, text, sizeof text - 1, 0), sizeof text);

	say("%d enforce %d %s %u\n", line_number, error, now, status->enforcing);
	close(file);
}

static void say_answers(int count)
{
	for (uint32_t i = 0, run; i < shared->answered; i += run) {
		uint16_t answer = shared->answers[i];
		for (run = 1; i + run < shared->answered && shared->answers[i + run] == answer; run++)
			;
		if (answer >> 12 >= count)
			say(" ok");
		else
			say(" %d.%d", answer >> 12, answer & 0xfff);
		if (run > 1)
			say("*%u", run);
	}
	say("\n");
}

static int count_steps(const char *line)
{
	int count = 1;

	for (; *line && *line != '\n'; line++)
		count += *line == ';';
	return count;
}

static void wait_for(int actor)
{
	for (int seconds = 0; __atomic_load_n(&shared->state[actor], __ATOMIC_SEQ_CST) != DONE; seconds++) {
		futex(&shared->state[actor], FUTEX_WAIT, WORK);
		if (waitpid(actors[actor], NULL, WNOHANG) == actors[actor])
			give_up("the actor died", ESRCH);
		if (seconds == PATIENCE_SECONDS)
			give_up("the actor hangs", ETIMEDOUT);
	}
}

/* Lets the actor that the line names do it; its number. */
static int let_work(const char *line, const char *verb)
{
	const char *rest = line;
	int actor = integer(&rest);

	if (actor < 0 || actor >= actor_count)
		give_up("no such actor", EINVAL);
	shared->line = line - strlen(verb) - 1 - script;
	set_state(actor, WORK);
	wait_for(actor);
	return actor;
}

static void do_label(const char *line)
{
	let_work(line, "label");
	say("%d label %s %u\n", line_number, shared->label, status->enforcing);
}

static void do_job(const char *line, const char *verb)
{
	uint32_t before = status->enforcing;
	int actor = let_work(line, verb);

	say("%d %s %d %u%u", line_number, verb, actor, before, status->enforcing);
	say_answers(count_steps(line));
}

static void do_open(const char *line)
{
	long slot = integer(&line);

	keep(slot, parse_steps(line));
	say("%d open", line_number);
	say_answers(count_steps(line));
}

static void do_line(const char *line)
{
	char verb[16];

	word(&line, verb, sizeof verb);
	line += *line == ' ';
	if (!strcmp(verb, "module")) do_module(line);
	else if (!strcmp(verb, "sysctl")) do_sysctl(line);
	else if (!strcmp(verb, "policy")) do_policy(line);
	else if (!strcmp(verb, "actor")) do_actor(line);
	else if (!strcmp(verb, "enforce")) do_enforce();
	else if (!strcmp(verb, "job") || !strcmp(verb, "keep")) do_job(line, verb);
	else if (!strcmp(verb, "open")) do_open(line);
	else if (!strcmp(verb, "label")) do_label(line);
	else give_up(verb, ENOSYS);
}

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		give_up("no memory", errno);
	return memory;
}

static void mount_all(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/share", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("tmpfs", "/share", "tmpfs", 0, NULL))
		give_up("mount", errno);
	if (mount("selinuxfs", "/sys/fs/selinux", "selinuxfs", 0, NULL))
		give_up("this kernel runs without SELinux (is lsm=selinux missing?): mount selinuxfs", errno);
	int file = open("/sys/fs/selinux/status", O_RDONLY | O_CLOEXEC);
	status = mmap(NULL, sizeof *status, PROT_READ, MAP_SHARED, file, 0);
	if (status == MAP_FAILED || status->enforcing)
		give_up("the status page of selinuxfs (the kernel has to start permissive)", errno);
	close(file);
}

static const char *read_script(void)
{
	struct stat size;
	int file = open("/script", O_RDONLY | O_CLOEXEC);

	if (file < 0 || fstat(file, &size))
		give_up("the script in the initramfs", errno);
	/* One page more than the file, so that its end is a zero byte even where it fills its last page. */
	char *text = map_shared(size.st_size + 4096);
	if (read(file, text, size.st_size) != size.st_size)
		give_up("read the script", errno);
	close(file);
	return text;
}

int main(void)
{
	struct utsname kernel;

	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	open_report();
	uname(&kernel);
	say("labelgen-probe 1 %s\n", kernel.release);
	signal(SIGPIPE, SIG_IGN);
	shared = map_shared(sizeof *shared);
	mount_all();
	script = read_script();
	for (const char *line = script; strncmp(line, "end\n", 4); line = strchr(line, '\n') + 1) {
		line_number++;
		do_line(line);
		fflush(report);
	}
	wait_for_printer();
	say("%d end %u", line_number + 1, status->enforcing);
	fprintf(report, " %08x\n", ~crc);
	stop();
}
