//! `mmap`: a file that both sides map.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::families::memory;
use super::place::{Access, Folder, give_to_client, probe_file, reserve};
use super::prelude::*;
use super::sys::Region;

static INFO: Info = Info {
    name: "mmap",
    group: Group::Memory,
    summary: "a file that both sides map into their memory; futexes to sleep on",
    choose: "Choose it where the shared data should also persist, or is larger than memory; otherwise shared memory proper \
             (shmem, memfd) does the same without a file.",
    limits: "Any process that may write to the file can truncate it, which kills the other side with SIGBUS. The file is \
             in the channel's folder: under the service's RUNTIME_DIRECTORY, else under TMPDIR or /tmp. On a disk, \
             modified pages are written back now and then, and the next write to such a page faults: \
             outliers that memory without a file does not have. In a tmpfs nothing is ever written back, and they do \
             not occur.",
    round: "As with shmem: a copy and a store on one side, loads until the word changes and a copy on the other; \
            the pages are the page cache's.",
    delivery: Delivery::Memory,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    naming: Naming::Folder,
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
        let folder = Folder::make(settings)?;
        let path = folder.join("memory");
        let memory = {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)
                .map_err(|error| folder.failed(error))
                .while_doing("making a file to map")?;
            reserve(&file, len).while_doing("reserving blocks for the file")?;
            let access =
                give_to_client(&path, settings.client).while_doing("opening the file to the client")?;
            let memory = Region::of_file(&file, len).while_doing("mapping the file")?;
            let handed = (access == Access::Handed).then_some(file.as_fd());
            supervisor.ready(&path.to_string_lossy(), handed.as_slice())?;
            memory
        };
        memory::serve(&memory, settings, supervisor, || drop(folder))
    }

    fn connect(&self, settings: &Settings, mut endpoint: Endpoint, watch: &mut Watch) -> Connected {
        if endpoint.descriptors.is_empty() {
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file =
                openat(CWD, &*endpoint.address, flags, Mode::empty()).while_doing("opening the file")?;
            endpoint.descriptors.push(file);
        }
        memory::connect(memory::open_file(endpoint, memory::len(settings))?, settings, watch)
    }
}
