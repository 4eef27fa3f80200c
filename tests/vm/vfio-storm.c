/*
 * Opens and closes from many processes at once.
 *
 *   vfio-storm device PROCESSES TIMES CONTAINER GROUP DEVICE
 *   vfio-storm group PROCESSES TIMES GROUP
 *
 * `device`: opens all three, and has each process open and close the device its part of TIMES; at the end the first one
 * keeps none open, the second one, the third two, the fourth none, and so on, and this process one.
 * `group`: the processes contend for the group, which only one at a time can have open, until it was opened TIMES; this
 * process opens it once more in the end.
 *
 * Then it says `done KEPT REFUSED`: how often the object is open by now, and how many opens were refused as busy. It
 * keeps everything until stdin ends. Exit code: 0, 1 a call failed, 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the processes share. */
static struct shared {
	atomic_long opened, refused;
	atomic_int ready;
} *shared;

static void need(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_device(int group, const char *name)
{
	int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);

	need(device >= 0, name);
	return device;
}

static void storm_device(int group, const char *name, long times, int keep)
{
	while (times--)
		close(open_device(group, name));
	while (keep--)
		open_device(group, name);
}

static void storm_group(const char *path, long times)
{
	while (atomic_load(&shared->opened) < times) {
		int group = open(path, O_RDWR);

		if (group < 0) {
			need(errno == EBUSY, path);
			atomic_fetch_add(&shared->refused, 1);
			sched_yield();
			continue;
		}
		atomic_fetch_add(&shared->opened, 1);
		close(group);
	}
}

int main(int argc, char **argv)
{
	int of_device = argc == 7 && !strcmp(argv[1], "device"), group = -1;
	long processes, times, kept = 1;
	char byte;

	if (!of_device && !(argc == 5 && !strcmp(argv[1], "group"))) {
		fprintf(stderr, "usage: vfio-storm device PROCESSES TIMES CONTAINER GROUP DEVICE | group PROCESSES TIMES GROUP\n");
		return 2;
	}
	processes = atol(argv[2]);
	times = atol(argv[3]);
	need(!setpgid(0, 0), "setpgid");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(shared != MAP_FAILED, "mmap");
	if (of_device) {
		int container = open(argv[4], O_RDWR);

		need(container >= 0, argv[4]);
		need((group = open(argv[5], O_RDWR)) >= 0, argv[5]);
		need(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "VFIO_GROUP_SET_CONTAINER");
		need(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU), "VFIO_SET_IOMMU");
		open_device(group, argv[6]);
	}
	for (long index = 0; index < processes; index++) {
		int keep = of_device ? index % 3 : 0;
		pid_t child = fork();

		need(child >= 0, "fork");
		kept += keep;
		if (child)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (of_device)
			storm_device(group, argv[6], (times + index) / processes, keep);
		else
			storm_group(argv[4], times);
		atomic_fetch_add(&shared->ready, 1);
		for (;;)
			pause();
	}
	while (atomic_load(&shared->ready) < processes) {
		/* One that has failed never gets ready. */
		if (waitpid(-1, NULL, WNOHANG) > 0)
			return 1;
		usleep(10000);
	}
	if (!of_device)
		need(open(argv[4], O_RDWR) >= 0, argv[4]);
	printf("done %ld %ld\n", kept, atomic_load(&shared->refused));
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	/* The children have what this process has: only when they are gone, too, is everything closed. */
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
	return 0;
}
