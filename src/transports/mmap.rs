//! `mmap`: a file that both sides map.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::families::memory;
use super::place::{Entry, probe_file, reserve};
use super::prelude::*;
use super::sys::Region;

static INFO: Info = Info {
    name: "mmap",
    group: Group::Memory,
    summary: "a file that both sides map into their memory; futexes to sleep on",
    choose: "Choose it where the shared data should also persist, or is larger than memory; otherwise shared memory proper \
             (shmem, memfd) does the same without a file.",
    limits: "Any process that may write to the file can truncate it, which kills the other side with SIGBUS. The file is \
             in TMPDIR, else in /tmp, which is a private tmpfs in the systemd unit. On a disk, \
             modified pages are written back now and then, and the next write to such a page faults: \
             outliers that memory without a file does not have. In a tmpfs nothing is ever written back, and they do \
             not occur.",
    round: "As with shmem: a copy and a store on one side, loads until the word changes and a copy on the other; \
            the pages are the page cache's.",
    delivery: Delivery::Memory,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    naming: Naming::File,
    exposure: Exposure::Memory,
    ..Info::DEFAULT
};

/// A memory-mapped file.
pub(super) struct MappedFile;

impl Mechanism for MappedFile {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(probe_file()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let len = memory::len(settings);
        let memory = {
            let entry = Entry::of_file(settings);
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(CWD, &entry.0, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|error| entry.failed(error))
                .while_doing("making a file to map")?;
            drop(entry);
            reserve(&file, len).while_doing("reserving blocks for the file")?;
            let memory = Region::of_file(&file, len).while_doing("mapping the file")?;
            supervisor.ready("mapped file", &[file.as_fd()])?;
            memory
        };
        memory::serve(&memory, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        memory::connect(memory::open_file(endpoint, memory::len(settings))?, settings, watch)
    }
}
