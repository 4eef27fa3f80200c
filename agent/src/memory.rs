//! The memory of the process: what a look at the whole host needed for a moment is given back.
//!
//! glibc keeps what was freed: per thread, and wherever something behind it is still in use. A scan of 16,384 devices
//! leaves several times behind what is kept of it. And of the program itself most is needed once, at the start
//! (docs/PERFORMANCE.md has the figures).

use std::{fs, ops::Range};

/// Makes all threads share one heap, so that each uses what another one freed. Called once, before there are threads.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` only sets a number, which is read when a thread first allocates; there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives free pages back to the kernel, also those between pages that are in use, and the pages of the program: what is needed
/// of it again is mapped again from the kernel's cache. Takes some milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` touches only memory that is free, under the heap's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
    for unwritten in unwritten_of(&fs::read_to_string("/proc/self/smaps").unwrap_or_default()) {
        // SAFETY: the kernel has just said of this range that it is mapped from a file, that it cannot be written, and that no
        // page of it ever was; nothing of it is ever unmapped. So each page comes back from the file as it was when it is needed
        // again.
        unsafe {
            libc::madvise(unwritten.start as *mut libc::c_void, unwritten.len(), libc::MADV_DONTNEED);
        }
    }
}

/// The code and the constants in a text like `/proc/self/smaps` that are still as they are in their files: what may not be
/// written, and of which the process has no page of its own. What the loader has written and then protected has such pages, in memory
/// or in swap: those must not be given back, for the file does not have what was written (kernel: `fs/proc/task_mmu.c`,
/// `smaps_account` and `smaps_pte_entry`: anonymous are those that were copied when they were written).
fn unwritten_of(smaps: &str) -> Vec<Range<usize>> {
    let (mut unwritten, mut mapping, mut own) = (Vec::new(), None, [None; 2]);
    for line in smaps.lines() {
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name {
            "Anonymous" => own[0] = Some(value),
            "Swap" => own[1] = Some(value),
            // The last line of a mapping.
            "VmFlags" => {
                let has_none = own.iter().all(|own| own.is_some_and(|own: &str| own.trim() == "0 kB"));
                unwritten.extend(mapping.take().filter(|_| has_none));
            }
            _ if line.split_once(' ').is_some_and(|(range, _)| range.contains('-')) => {
                (mapping, own) = (protected(line), [None; 2]);
            }
            _ => {}
        }
    }
    unwritten
}

/// The range of a mapping that comes from a file and may not be written, by its first line.
fn protected(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let file = fields.nth(3)?;
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    (matches!(rights, "r-xp" | "r--p") && file.starts_with('/')).then_some(number(start)?..number(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_from_a_file_and_was_never_written_is_given_back() {
        let swapped = |range: &str, rights: &str, own: u32, swap: u32, file: &str| {
            format!(
                "{range} {rights} 00000000 fe:00 77 {file}\nSize: 1024 kB\nRss: 512 kB\nPrivate_Dirty: {own} kB\n\
                 Anonymous: {own} kB\nAnonHugePages: 0 kB\nSwap: {swap} kB\nSwapPss: 0 kB\nVmFlags: rd mr mw me\n"
            )
        };
        let mapping = |range: &str, rights: &str, own: u32, file: &str| swapped(range, rights, own, 0, file);
        let smaps = [
            mapping("55d0c0000000-55d0c0100000", "r--p", 0, "/usr/bin/vfiod"),
            mapping("55d0c0100000-55d0c0900000", "r-xp", 0, "/usr/bin/vfiod"),
            mapping("55d0c0900000-55d0c0a00000", "r--p", 612, "/usr/bin/vfiod"),
            mapping("55d0c0a00000-55d0c0b00000", "rw-p", 0, "/usr/bin/vfiod"),
            mapping("55d0c0b00000-55d0c0c00000", "r-xp", 4, "/odd"),
            mapping("55d0c0c00000-55d0c0d00000", "r--s", 0, "/shared"),
            // What the loader has written is in swap.
            swapped("55d0c0d00000-55d0c0e00000", "r--p", 0, 612, "/usr/bin/vfiod"),
            // A kernel that does not say so.
            mapping("55d0c0e00000-55d0c0f00000", "r--p", 0, "/old").replace("Swap:", "Other:"),
            mapping("7f0000000000-7f0000001000", "r-xp", 0, ""),
            mapping("7fff00000000-7fff00002000", "r-xp", 0, "[vdso]"),
        ];
        let unwritten = unwritten_of(&smaps.concat());
        assert_eq!(unwritten, [0x55d0_c000_0000..0x55d0_c010_0000, 0x55d0_c010_0000..0x55d0_c090_0000]);
    }

    #[test]
    fn what_is_given_back_can_still_be_used() {
        let before: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        give_back();
        assert_eq!(before.concat().len(), 10 + 180 + 2700);
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let [code, constants] = [give_back as fn() as usize, smaps_literal().as_ptr() as usize];
        let unwritten = unwritten_of(&smaps);
        assert!(unwritten.iter().any(|range| range.contains(&code)), "the code is given back");
        assert!(unwritten.iter().any(|range| range.contains(&constants)), "the constants are given back");
    }

    fn smaps_literal() -> &'static str {
        "a constant of the program"
    }
}
