//! Where the spool keeps its bytes: the file system, or a simulated one that tears writes, fills up and loses power.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Folders and files. What is written may be lost with the power until it is synced, a file's name until its folder is.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and those above it, which outlive a loss of power.
    ///
    /// # Errors
    /// When the disk is full or fails.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes a file of that size, all of it allocated; none when there is no room.
    ///
    /// # Errors
    /// When the file is there, the disk is full or fails.
    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Stored>>;

    /// Opens a file.
    ///
    /// # Errors
    /// When it is not there, or the disk fails.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Stored>>;

    /// The folders directly in a folder, sorted.
    ///
    /// # Errors
    /// When the disk fails.
    fn folders(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// The files directly in a folder, sorted.
    ///
    /// # Errors
    /// When the disk fails.
    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Writes a file that nothing is added to later, and that outlives a loss of power.
    ///
    /// # Errors
    /// When the disk is full or fails.
    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// When the disk fails.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Deletes a folder with what is in it.
    ///
    /// # Errors
    /// When the disk fails.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Waits until the names in a folder outlive a loss of power.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file. All writes go to bytes that are allocated.
pub trait Stored: Debug + Send + Sync {
    /// Its size.
    ///
    /// # Errors
    /// When the disk fails.
    fn size(&self) -> io::Result<u64>;

    /// Writes all of it, or an unknown part when it fails.
    ///
    /// # Errors
    /// When the disk fails.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// When there are not so many bytes, or the disk fails.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Waits until what was written outlives a loss of power.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync(&self) -> io::Result<()>;
}

/// The disk of this machine.
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
