/*
 * Does with VFIO files what it is told, a line of stdin at a time, and answers each line on stdout: `ok`, with a number
 * where there is one to tell, or `error WHAT: WHY`. It ends with its stdin, and everything that is open with it.
 *
 *   container PATH   opens the container
 *   group PATH       opens a group and puts it into the container; the first one gives the container its IOMMU
 *   device NAME      opens a device (a BDF or an mdev's UUID) of the group that was opened last
 *   cdev PATH        opens a device's own file, /dev/vfio/devices/vfioN, and binds it to a new /dev/iommu
 *   close WHAT       closes the last `container`, `group`, `device` or `cdev` (and its iommu) that is open
 *   dup WHAT         duplicates it and closes the first
 *   fork             starts a process that has everything open, too, and does nothing; answers its pid
 *   give WHAT PATH   sends the descriptor through the UNIX socket PATH
 *   listen PATH      creates that socket
 *   take WHAT        receives one there, as its own
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* linux/vfio.h of Linux 6.6 and later. */
struct bind_iommufd {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t devid;
};
#define BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)

enum what { CONTAINER, GROUP, DEVICE, CDEV, IOMMU, KINDS };
static const char *const names[KINDS] = { "container", "group", "device", "cdev", "iommu" };

enum { MOST = 64 };
static int files[KINDS][MOST];
static int counts[KINDS];
static int listener = -1;

static void answer(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vprintf(format, values);
	va_end(values);
	putchar('\n');
	fflush(stdout);
}

static void failed(const char *what)
{
	answer("error %s: %s", what, strerror(errno));
}

static int *last(enum what what)
{
	return counts[what] ? &files[what][counts[what] - 1] : NULL;
}

static int keep(enum what what, int file)
{
	if (counts[what] == MOST) {
		close(file);
		errno = EMFILE;
		return -1;
	}
	files[what][counts[what]++] = file;
	return 0;
}

static int drop(enum what what)
{
	int *file = last(what);

	if (!file) {
		errno = EBADF;
		return -1;
	}
	counts[what]--;
	return close(*file);
}

static int open_group(const char *path)
{
	int *container = last(CONTAINER), file = open(path, O_RDWR | O_CLOEXEC);

	if (file < 0)
		return -1;
	if (!container || ioctl(file, VFIO_GROUP_SET_CONTAINER, container) ||
	    (!counts[GROUP] && ioctl(*container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU))) {
		close(file);
		return -1;
	}
	return keep(GROUP, file);
}

static int open_device(const char *name)
{
	int *group = last(GROUP), file = group ? ioctl(*group, VFIO_GROUP_GET_DEVICE_FD, name) : -1;

	return file < 0 ? -1 : keep(DEVICE, file);
}

static int open_cdev(const char *path)
{
	int file = open(path, O_RDWR | O_CLOEXEC), iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	struct bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommu };

	if (file < 0 || iommu < 0 || ioctl(file, BIND_IOMMUFD, &bind)) {
		close(file);
		close(iommu);
		return -1;
	}
	return keep(IOMMU, iommu) || keep(CDEV, file) ? -1 : 0;
}

static int duplicate(enum what what)
{
	int *file = last(what), other = file ? dup(*file) : -1;

	if (other < 0)
		return -1;
	close(*file);
	*file = other;
	return 0;
}

/* One descriptor in one message of one byte. */
union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr header;
};

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
	return name;
}

static int give(enum what what, const char *path)
{
	struct sockaddr_un name = address(path);
	int *file = last(what), stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct iovec byte = { .iov_base = "x", .iov_len = 1 };
	union control control = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	int sent = -1;

	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	if (file && !connect(stream, (struct sockaddr *)&name, sizeof(name))) {
		memcpy(CMSG_DATA(&control.header), file, sizeof(*file));
		sent = sendmsg(stream, &message, 0) == 1 ? 0 : -1;
	}
	close(stream);
	return sent;
}

static int take(enum what what)
{
	char place;
	struct iovec byte = { .iov_base = &place, .iov_len = 1 };
	union control control;
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	int stream = accept(listener, NULL, NULL), file;
	ssize_t got = recvmsg(stream, &message, MSG_CMSG_CLOEXEC);

	close(stream);
	if (got != 1 || message.msg_controllen < CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&file, CMSG_DATA(&control.header), sizeof(file));
	return keep(what, file);
}

static int start_listening(const char *path)
{
	struct sockaddr_un name = address(path);

	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink(path);
	return bind(listener, (struct sockaddr *)&name, sizeof(name)) || listen(listener, 1);
}

static void start_child(void)
{
	pid_t child = fork();

	if (child < 0)
		failed("fork");
	else if (child)
		answer("ok %d", child);
	else
		for (;;)
			pause();
}

static enum what kind(const char *name)
{
	enum what what = CONTAINER;

	while (what < KINDS && strcmp(name, names[what]))
		what++;
	return what;
}

int main(void)
{
	char line[512], verb[32], first[256], second[256];

	/* Children that nobody waits for end at once. */
	signal(SIGCHLD, SIG_IGN);
	while (fgets(line, sizeof(line), stdin)) {
		int words = sscanf(line, "%31s %255s %255s", verb, first, second), result;
		enum what what = words > 1 ? kind(first) : KINDS;

		errno = EINVAL;
		if (words == 1 && !strcmp(verb, "fork")) {
			start_child();
			continue;
		}
		if (words == 2 && !strcmp(verb, "container")) {
			int file = open(first, O_RDWR | O_CLOEXEC);

			result = file < 0 ? -1 : keep(CONTAINER, file);
		} else if (words == 2 && !strcmp(verb, "group")) {
			result = open_group(first);
		} else if (words == 2 && !strcmp(verb, "device")) {
			result = open_device(first);
		} else if (words == 2 && !strcmp(verb, "cdev")) {
			result = open_cdev(first);
		} else if (words == 2 && !strcmp(verb, "close") && what < KINDS) {
			result = drop(what);
			if (!result && what == CDEV)
				result = drop(IOMMU);
		} else if (words == 2 && !strcmp(verb, "dup") && what < KINDS) {
			result = duplicate(what);
		} else if (words == 3 && !strcmp(verb, "give") && what < KINDS) {
			result = give(what, second);
		} else if (words == 2 && !strcmp(verb, "listen")) {
			result = start_listening(first);
		} else if (words == 2 && !strcmp(verb, "take") && what < KINDS) {
			result = take(what);
		} else {
			result = -1;
		}
		if (result)
			failed(verb);
		else
			answer("ok");
	}
	return 0;
}
