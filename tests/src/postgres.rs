//! A PostgreSQL server for one test. PostgreSQL refuses to run as root; if the test does, the server runs as user `postgres`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running server with one empty database per reader.
pub struct Postgres {
    child: Child,
    folder: TempDir,
    port: u16,
}

fn binary(name: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .collect();
    found.sort();
    found.into_iter().rev().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
}

fn as_other_user(program: &Path) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn serve(folder: &Path, port: u16) -> Child {
    as_other_user(&binary("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "unix_socket_directories="])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Postgres {
    /// Starts a server; needs PostgreSQL's server binaries (`make test-tools` installs them).
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("arouter-pg").tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap();
            assert!(owned.success(), "chown to postgres");
        }
        let data = folder.path().join("data");
        let made = as_other_user(&binary("initdb"))
            .args(["-A", "trust", "-U", "postgres", "-N", "-D"])
            .arg(&data)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        let port = crate::port::free();
        let child = serve(folder.path(), port);
        let postgres = Self { child, folder, port };
        for name in ["ledger", "projector"] {
            postgres.create(name);
        }
        postgres
    }

    /// Restarts the server if it has ended.
    pub fn supervise(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = serve(self.folder.path(), self.port);
        }
    }

    /// Copies the server's current data, for [`Postgres::fail_over`].
    pub fn copy(&self) {
        let copied = as_other_user(&binary("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-c", "fast", "-D"])
            .arg(self.folder.path().join("copy"))
            .current_dir(self.folder.path())
            .status()
            .unwrap();
        assert!(copied.success(), "pg_basebackup");
    }

    /// Kills the server, and starts the copy in its place, as a standby that was behind.
    pub fn stand_by(&mut self) {
        if let Some(pid) = self.pid() {
            let _gone = kill_process(pid, Signal::KILL);
        }
        let _ended = self.child.wait();
        let (data, copy) = (self.folder.path().join("data"), self.folder.path().join("copy"));
        std::fs::rename(&data, self.folder.path().join("old")).unwrap();
        std::fs::rename(&copy, &data).unwrap();
        let marked = as_other_user(Path::new("touch")).arg(data.join("standby.signal")).status().unwrap();
        assert!(marked.success(), "standby.signal");
        self.child = serve(self.folder.path(), self.port);
    }

    /// Kills the server, and promotes the copy in its place.
    pub fn fail_over(&mut self) {
        self.stand_by();
        let since = std::time::Instant::now();
        let data = self.folder.path().join("data");
        let promote =
            || as_other_user(&binary("pg_ctl")).args(["promote", "-D"]).arg(&data).current_dir(self.folder.path()).output().unwrap();
        while !promote().status.success() {
            assert!(since.elapsed().as_secs() < 30, "PostgreSQL's copy is not promoted in {}", self.folder.path().display());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Stops the server with all its sessions, so that it does not respond but breaks no connection.
    pub fn hang(&self) {
        for pid in self.processes() {
            let _gone = kill_process(pid, Signal::STOP);
        }
    }

    /// Resumes a stopped server. The program that changes the user stops with it, and is resumed too.
    pub fn resume(&self) {
        let child = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default());
        for pid in self.processes().into_iter().chain(child) {
            let _gone = kill_process(pid, Signal::CONT);
        }
    }

    /// Returns the process ids of the server and its sessions.
    fn processes(&self) -> Vec<Pid> {
        let own = |pid: Pid| std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero())).unwrap_or_default();
        let server = self.pid();
        let sessions = server.map(own).unwrap_or_default();
        server.into_iter().chain(sessions.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?))).collect()
    }

    /// Returns the server's own process id, because the child may be the program that changes the user.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        let own = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).ok()?;
        Pid::from_raw(own.lines().next()?.trim().parse().ok()?)
    }

    fn create(&self, name: &str) {
        let since = std::time::Instant::now();
        loop {
            let made = Command::new("psql")
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-c", &format!("CREATE DATABASE {name}")])
                .stderr(Stdio::null())
                .status()
                .unwrap();
            if made.success() {
                return;
            }
            assert!(since.elapsed().as_secs() < 30, "PostgreSQL does not start in {}", self.folder.path().display());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Returns the address of a database.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _gone = kill_process(pid, Signal::QUIT);
        }
        // A stopped process handles the signal only after it is resumed.
        while matches!(self.child.try_wait(), Ok(None)) {
            self.resume();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
