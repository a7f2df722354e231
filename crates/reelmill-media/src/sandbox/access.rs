//! What a tool may touch: exactly the files of its task.

use std::path::{Path, PathBuf};

/// The files and folders of one run of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    reads: Vec<PathBuf>,
    writes: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    devices: bool,
}

impl Access {
    /// No file at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// It may read this file.
    pub fn read(&mut self, path: &Path) {
        self.reads.push(path.to_owned());
    }

    /// It may write and read this file, which is made when it is not there.
    pub fn write(&mut self, path: &Path) {
        self.writes.push(path.to_owned());
    }

    /// It may do everything in this folder but run programs.
    pub fn use_folder(&mut self, path: &Path) {
        self.folders.push(path.to_owned());
    }

    /// It may use the graphics processors.
    pub fn use_devices(&mut self) {
        self.devices = true;
    }

    /// With what the other may touch as well.
    pub fn join(&mut self, other: Self) {
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
        self.folders.extend(other.folders);
        self.devices |= other.devices;
    }

    pub(crate) fn reads(&self) -> &[PathBuf] {
        &self.reads
    }

    pub(crate) fn writes(&self) -> &[PathBuf] {
        &self.writes
    }

    /// The graphics processors' devices, where they may be used and there are any.
    pub(crate) fn devices(&self) -> Vec<PathBuf> {
        if !self.devices {
            return Vec::new();
        }
        let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
        entries
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name == "dri" || name == "dxg" || name == "kfd" || name.starts_with("nvidia")
            })
            .map(|entry| entry.path())
            .collect()
    }

    /// What drivers read of the system besides.
    pub(crate) fn device_facts(&self) -> &'static [&'static str] {
        let facts: &[&str] = &[
            "/sys/class",
            "/sys/bus",
            "/sys/dev",
            "/sys/devices",
            "/proc/driver",
            "/proc/devices",
            "/etc/vulkan",
            "/etc/OpenCL",
        ];
        if self.devices { facts } else { &[] }
    }

    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Makes the files that it may write. One that cannot be made is left to
    /// the tool to complain about.
    pub(crate) fn make_files(&self) {
        for path in &self.writes {
            let _ = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(path);
        }
    }
}
