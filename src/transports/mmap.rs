//! `mmap`: a file that both sides map.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::contract::While;
use super::place::{Access, Folder, give_to_client, probe_file, remove_folder, reserve};
use super::sys::Region;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, memory,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "mmap",
    aliases: &[],
    group: Group::Memory,
    summary: "a file that both sides map into their memory; futexes to sleep on",
    explanation: Explanation {
        choose: "Choose it where what is shared should also stay, or is larger than memory; else shared memory proper \
                 (shmem, memfd) does the same without a file.",
        limits: "Whoever may write to the file can truncate it, which ends the other side with SIGBUS. The file lies \
                 in the channel's folder: under the service's RUNTIME_DIRECTORY, else under TMPDIR or /tmp. On a disk, \
                 pages that were written to are written back now and then, and the next write to such a page faults: \
                 outliers of a kind that memory without a file does not have. Where that folder is in a tmpfs, nothing is \
                 ever written back, and they do not occur.",
        round: "As with shmem: a copy and a store on one side, loads until the word changes and a copy on the other; \
                the pages are the page cache's.",
    },
    delivery: Delivery::Memory,
    reach: Reach::Anyone,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    options: &[],
};

/// A memory-mapped file.
pub(super) struct MappedFile;

impl Mechanism for MappedFile {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(probe_file()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
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

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let len = memory::len(settings);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut endpoint = endpoint;
        if endpoint.descriptors.is_empty() {
            let file: OwnedFd = openat(CWD, endpoint.address.as_str(), flags, Mode::empty())
                .while_doing("opening the file")?;
            endpoint.descriptors.push(file);
        }
        memory::connect(memory::handed(endpoint, len)?, settings, watch)
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
    }
}
