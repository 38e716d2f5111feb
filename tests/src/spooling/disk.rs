//! A simulated disk. It keep_probability synced data; after a loss of power it keep_probability an arbitrary part of the rest. It can also be full or fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway::spool::Disk;
use gateway::spool::disk::Stored;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The bytes that a disk writes atomically.
const SECTOR: usize = 512;

/// A disk in memory, whose clones share their state.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: StdRng,
    folders: BTreeSet<PathBuf>,
    /// The file of each name: now in `names`, and after a loss of power in `lasting`.
    names: BTreeMap<PathBuf, usize>,
    lasting: BTreeMap<PathBuf, usize>,
    files: Vec<Bytes>,
    is_full: bool,
    fails: bool,
}

#[derive(Debug)]
struct Bytes {
    now: Vec<u8>,
    lasting: Vec<u8>,
    /// Sectors that are written but not synced.
    dirty: BTreeSet<usize>,
}

#[derive(Debug)]
struct Open {
    disk: SimulatedDisk,
    file: usize,
}

impl SimulatedDisk {
    /// Creates an empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            folders: BTreeSet::new(),
            names: BTreeMap::new(),
            lasting: BTreeMap::new(),
            files: Vec::new(),
            is_full: false,
            fails: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether the disk is full, so that new files are refused.
    pub fn be_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// Sets whether writes and syncs fail.
    pub fn fail(&self, fails: bool) {
        self.state().fails = fails;
    }

    /// Simulates a loss of power. Each unsynced sector and each unsynced file name is kept or lost at random.
    pub fn lose_power(&self) {
        let mut state = self.state();
        let State { rng, names, lasting, files, .. } = &mut *state;
        let keep_probability = if rng.random_bool(0.4) { 0.0 } else { rng.random_range(0.0..=1.0) };
        let paths: BTreeSet<PathBuf> = names.keys().chain(lasting.keys()).cloned().collect();
        for path in paths {
            if names.get(&path) != lasting.get(&path) && rng.random_bool(keep_probability) {
                match names.get(&path) {
                    Some(file) => lasting.insert(path, *file),
                    None => lasting.remove(&path),
                };
            }
        }
        names.clone_from(lasting);
        for file in files {
            for sector in std::mem::take(&mut file.dirty) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(file.now.len());
                if rng.random_bool(keep_probability) {
                    file.lasting[range.clone()].copy_from_slice(&file.now[range]);
                } else {
                    file.now[range.clone()].copy_from_slice(&file.lasting[range]);
                }
            }
        }
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        if self.fails { Err(io::Error::other("the simulated disk fails")) } else { Ok(()) }
    }

    fn make(&mut self, path: &Path, bytes: usize) -> io::Result<usize> {
        self.check()?;
        if self.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.push(Bytes { now: vec![0; bytes], lasting: vec![0; bytes], dirty: BTreeSet::new() });
        self.names.insert(path.to_owned(), self.files.len() - 1);
        Ok(self.files.len() - 1)
    }
}

impl Disk for SimulatedDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.state().folders.insert(folder.to_owned());
        Ok(())
    }

    fn allocate(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Stored>> {
        let file = self.state().make(path, usize::try_from(bytes).unwrap_or(usize::MAX))?;
        Ok(Box::new(Open { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Stored>> {
        let file = self.state().names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { disk: self.clone(), file }))
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state().folders.iter().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state().names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.names.remove(path);
        let file = state.make(path, bytes.len())?;
        state.files[file].now.copy_from_slice(bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.names.retain(|path, _| path.parent() != Some(folder));
        state.folders.remove(folder);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check()?;
        let State { names, lasting, .. } = &mut *state;
        lasting.retain(|path, _| path.parent() != Some(folder));
        lasting.extend(names.iter().filter(|(path, _)| path.parent() == Some(folder)).map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }
}

impl Stored for Open {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].now.len() as u64)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let result = state.check();
        let part = if result.is_ok() { bytes.len() } else { state.rng.random_range(0..=bytes.len()) };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let file = &mut state.files[self.file];
        file.now[at..at + part].copy_from_slice(&bytes[..part]);
        file.dirty.extend((0..part).step_by(SECTOR).chain(part.checked_sub(1)).map(|offset| (at + offset) / SECTOR));
        result
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let state = self.disk.state();
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = state.files[self.file].now.get(at..at.saturating_add(buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check()?;
        let file = &mut state.files[self.file];
        for sector in std::mem::take(&mut file.dirty) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(file.now.len());
            file.lasting[range.clone()].copy_from_slice(&file.now[range]);
        }
        Ok(())
    }
}
