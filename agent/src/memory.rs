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
    for code in code_of(&fs::read_to_string("/proc/self/maps").unwrap_or_default()) {
        // SAFETY: the kernel has just named this range as code that is mapped from a file, and nothing of it is ever unmapped.
        // Such pages are never written (`r-x`), so that each comes back from the file as it was when it is needed again.
        unsafe {
            libc::madvise(code.start as *mut libc::c_void, code.len(), libc::MADV_DONTNEED);
        }
    }
}

/// The code in a text like `/proc/self/maps` that comes from files: what may be executed and not written. Constants are left out,
/// because the kernel does not tell them from what the loader has written and then protected.
fn code_of(maps: &str) -> Vec<Range<usize>> {
    let code = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let file = fields.nth(3)?;
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        (rights == "r-xp" && file.starts_with('/')).then_some(number(start)?..number(end)?)
    };
    maps.lines().filter_map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_comes_from_a_file_and_is_executed() {
        let maps = "55d0c0000000-55d0c0100000 r--p 00000000 fe:00 77 /usr/bin/vfiod\n\
                    55d0c0100000-55d0c0900000 r-xp 00100000 fe:00 77 /usr/bin/vfiod\n\
                    55d0c0900000-55d0c0a00000 rw-p 00900000 fe:00 77 /usr/bin/vfiod\n\
                    55d0c0a00000-55d0c0b00000 rwxp 00000000 fe:00 78 /odd\n\
                    7f0000000000-7f0000001000 r-xp 00000000 00:00 0\n\
                    7fff00000000-7fff00002000 r-xp 00000000 00:00 0 [vdso]\n";
        let code: Vec<_> = code_of(maps).into_iter().map(|code| (code.start, code.end)).collect();
        assert_eq!(code, [(0x55d0_c010_0000, 0x55d0_c090_0000)]);
    }

    #[test]
    fn what_is_given_back_can_still_be_used() {
        let before: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        give_back();
        assert_eq!(before.concat().len(), 10 + 180 + 2700);
        assert!(!code_of(&fs::read_to_string("/proc/self/maps").unwrap()).is_empty());
    }
}
