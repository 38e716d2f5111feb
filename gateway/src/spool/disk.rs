//! The storage of the spool: the file system, or a simulated one that tears writes, fills up and loses power.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A store of folders and files. Written bytes may be lost with the power until the file is synced, and a file's name until its folder is
/// synced.
pub trait Disk: Debug + Send + Sync {
    /// Creates a folder and its parents, durably.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// Creates a file with all its bytes allocated; creates nothing if there is no room.
    ///
    /// # Errors
    /// Fails if the file exists, or if the disk is full or fails.
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Stored>>;

    fn open(&self, path: &Path) -> io::Result<Box<dyn Stored>>;

    /// Returns the folders directly in a folder, sorted.
    fn folders(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Returns the files directly in a folder, sorted.
    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Writes a whole file durably; nothing is added to it later.
    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Deletes a folder and its content.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file. All writes go to allocated bytes.
pub trait Stored: Debug + Send + Sync {
    fn size(&self) -> io::Result<u64>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// If the disk fails, an unknown part of the bytes may be written.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// Fails if the file has too few bytes.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Makes the written bytes durable.
    fn sync(&self) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        std::fs::create_dir_all(folder)?;
        let parents = missing.iter().filter_map(|path| path.parent());
        parents
            .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
            .try_for_each(|parent| self.sync_folder(parent))
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Stored>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        if let Err(error) = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            std::fs::remove_file(path)?;
            return Err(error.into());
        }
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Stored>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        entries(folder, Path::is_dir)
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        entries(folder, Path::is_file)
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        self.make_folder(folder)?;
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

fn entries(folder: &Path, is_one: fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut all = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    all.retain(|path| is_one(path));
    all.sort();
    Ok(all)
}

impl Stored for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
