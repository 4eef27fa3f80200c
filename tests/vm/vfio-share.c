/*
 * Has a VFIO device open in every way that leaves a trace in the kernel, or none in /proc.
 *
 *   vfio-share CONTAINER GROUP DEVICE
 *
 * Opens all three, then says `done PID` and obeys, each line of stdin answered by `done [NUMBER]`:
 *
 *   dup           a second descriptor of the device
 *   fork          a child that has everything open too and only waits; the answer is its pid
 *   map           the device's region 0 into memory
 *   unmap
 *   pass          the device's descriptor into a socket, which nobody reads
 *   take          reads it from there
 *   close device | group | container
 *   open          everything once more
 *   churn N       opens and closes the group N times, whatever comes of it; the answer is how often that worked
 *
 * Ends when stdin ends. Exit code: 0, 1 a call failed, 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int container = -1, group = -1, device = -1, sockets[2];
static char **names;
static void *mapped;
static size_t mapped_size;

static void need(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_all(void)
{
	need((container = open(names[1], O_RDWR)) >= 0, names[1]);
	need((group = open(names[2], O_RDWR)) >= 0, names[2]);
	need(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "VFIO_GROUP_SET_CONTAINER");
	need(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), "VFIO_SET_IOMMU");
	need((device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, names[3])) >= 0, names[3]);
}

static void close_one(int *descriptor)
{
	need(!close(*descriptor), "close");
	*descriptor = -1;
}

static void map(void)
{
	struct vfio_region_info region = { .argsz = sizeof(region), .index = 0 };

	need(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), "VFIO_DEVICE_GET_REGION_INFO");
	mapped_size = (size_t)region.size;
	mapped = mmap(NULL, mapped_size, PROT_READ, MAP_SHARED, device, (off_t)region.offset);
	need(mapped != MAP_FAILED, "mmap");
}

/* Sends the device's descriptor, or receives one. */
static void pass(int send)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte = 'x';
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};

	memset(&control, 0, sizeof(control));
	if (!send) {
		need(recvmsg(sockets[1], &message, 0) == 1, "recvmsg");
		memcpy(&device, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(device));
		return;
	}
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &device, sizeof(device));
	need(sendmsg(sockets[0], &message, 0) == 1, "sendmsg");
}

static long fork_one(void)
{
	pid_t child = fork();

	need(child >= 0, "fork");
	if (child)
		return child;
	prctl(PR_SET_NAME, "vfio-child");
	for (;;)
		pause();
}

static long churn(long times)
{
	long worked = 0;

	while (times--) {
		int one = open(names[2], O_RDWR);

		if (one < 0)
			continue;
		worked++;
		close(one);
	}
	return worked;
}

static long obey(char *line)
{
	if (!strcmp(line, "dup"))
		need(dup(device) >= 0, "dup");
	else if (!strcmp(line, "fork"))
		return fork_one();
	else if (!strcmp(line, "map"))
		map();
	else if (!strcmp(line, "unmap"))
		need(!munmap(mapped, mapped_size), "munmap");
	else if (!strcmp(line, "pass") || !strcmp(line, "take"))
		pass(*line == 'p');
	else if (!strcmp(line, "close device"))
		close_one(&device);
	else if (!strcmp(line, "close group"))
		close_one(&group);
	else if (!strcmp(line, "close container"))
		close_one(&container);
	else if (!strcmp(line, "open"))
		open_all();
	else if (!strncmp(line, "churn ", 6))
		return churn(atol(line + 6));
	else {
		fprintf(stderr, "unknown: %s\n", line);
		exit(2);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc != 4) {
		fprintf(stderr, "usage: vfio-share CONTAINER GROUP DEVICE\n");
		return 2;
	}
	names = argv;
	signal(SIGCHLD, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	need(!socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), "socketpair");
	open_all();
	printf("done %d\n", (int)getpid());
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		printf("done %ld\n", obey(line));
	}
	return 0;
}
