/*
 * Opens VFIO devices the way a virtual machine monitor does (Documentation/driver-api/vfio.rst of the kernel): the
 * container, each group, each device; and prints what the kernel says of them.
 *
 *   vfio-open [--hold] CONTAINER --group PATH [DEVICE...] [--group PATH [DEVICE...]]...
 *
 * CONTAINER and PATH are opened exactly as given. A DEVICE is a BDF or an mdev's UUID. With --hold everything stays
 * open, after a line `holding`, until stdin ends. A group without devices is opened and asked, no more.
 *
 * Exit code: 0 all is open; 1 a call failed; 2 usage; 3 a group is not viable; 4 a group is busy.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FAILED = 1, USAGE = 2, NOT_VIABLE = 3, BUSY = 4 };

static void fail(const char *what, const char *name)
{
	int code = errno == EBUSY ? BUSY : FAILED;
	fprintf(stderr, "%s: %s: %s\n", name, what, strerror(errno));
	exit(code);
}

static int open_group(const char *path, int container)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	int group = open(path, O_RDWR);

	if (group < 0)
		fail("open", path);
	if (ioctl(group, VFIO_GROUP_GET_STATUS, &status))
		fail("VFIO_GROUP_GET_STATUS", path);
	printf("group %s %s\n", path, status.flags & VFIO_GROUP_FLAGS_VIABLE ? "viable" : "not-viable");
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		fprintf(stderr, "%s: the group is not viable: a member is bound to a driver of the host\n", path);
		exit(NOT_VIABLE);
	}
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container))
		fail("VFIO_GROUP_SET_CONTAINER", path);
	return group;
}

/* Programs a page into the IOMMU and takes it out again: what a guest's memory needs. */
static void map_a_page(const char *name, int container)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)page, .iova = 0x100000, .size = size,
	};
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = 0x100000, .size = size };

	if (page == MAP_FAILED)
		fail("mmap", name);
	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		fail("VFIO_IOMMU_MAP_DMA", name);
	if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		fail("VFIO_IOMMU_UNMAP_DMA", name);
	munmap(page, size);
	printf("dma %zu\n", size);
}

static void open_device(const char *name, int group)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);

	if (device < 0)
		fail("VFIO_GROUP_GET_DEVICE_FD", name);
	if (ioctl(device, VFIO_DEVICE_GET_INFO, &info))
		fail("VFIO_DEVICE_GET_INFO", name);
	printf("device %s regions=%u irqs=%u\n", name, info.num_regions, info.num_irqs);
	for (uint32_t index = 0; index < info.num_regions; index++) {
		struct vfio_region_info region = { .argsz = sizeof(region), .index = index };

		/* A device without VGA has a VGA region that cannot be asked. */
		if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region)) {
			if (index == VFIO_PCI_VGA_REGION_INDEX)
				continue;
			fail("VFIO_DEVICE_GET_REGION_INFO", name);
		}
		if (region.size)
			printf("region %s %u size=%llu\n", name, index, (unsigned long long)region.size);
		if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
			uint16_t ids[2];

			if (pread(device, ids, sizeof(ids), (off_t)region.offset) != sizeof(ids))
				fail("reading the configuration space", name);
			printf("config %s %04x:%04x\n", name, ids[0], ids[1]);
		}
	}
}

int main(int argc, char **argv)
{
	int at = 1, hold = 0, container, group = -1, opened = 0;

	if (at < argc && !strcmp(argv[at], "--hold")) {
		hold = 1;
		at++;
	}
	if (argc - at < 3 || strcmp(argv[at + 1], "--group")) {
		fprintf(stderr, "usage: vfio-open [--hold] CONTAINER --group PATH [DEVICE...]...\n");
		return USAGE;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	container = open(argv[at], O_RDWR);
	if (container < 0)
		fail("open", argv[at]);
	printf("api %d\n", ioctl(container, VFIO_GET_API_VERSION));
	if (ioctl(container, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU) != 1)
		fail("no type 1 IOMMU", argv[at]);

	for (int next = at + 1; next < argc; next++) {
		if (!strcmp(argv[next], "--group")) {
			if (++next == argc)
				return USAGE;
			group = open_group(argv[next], container);
			/* The container takes its IOMMU with the first group in it. */
			if (!opened++ && ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU))
				fail("VFIO_SET_IOMMU", argv[at]);
			continue;
		}
		open_device(argv[next], group);
	}
	map_a_page(argv[at], container);
	if (hold) {
		char byte;

		printf("holding\n");
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
	}
	return 0;
}
