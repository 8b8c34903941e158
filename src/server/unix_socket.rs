//! A Unix socket to listen on: a file that only some users may open.

use std::{
    fs::{self, Permissions},
    io,
    os::fd::OwnedFd,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, fchmod, flock},
    io::Errno,
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Instant, sleep},
};

use crate::types::{FileId, open_file};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long the broker waits for another process that has locked the folder.
const LOCKED: Duration = Duration::from_secs(5);
/// How long it waits between two tries to lock it.
const AGAIN: Duration = Duration::from_millis(50);

/// A Unix socket that listens. Its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The device and number of the file, by which it is told from one that another process has put there since.
    file: FileId,
}

impl UnixSocket {
    /// Listens at `path`, whose rights will be `mode`. A socket that is there already is removed if nobody listens on it.
    ///
    /// # Errors
    /// Returns the system's error, or one that says what is in the way.
    pub async fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let dir = path.parent().unwrap_or_else(|| Path::new("/"));
        // Of two brokers that start at once, one would otherwise remove the socket of the other.
        // Nobody waits for a pipe in its place.
        let dir = open_file(dir)?;
        lock(&dir).await?;
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Linux makes the file with the rights that the socket has, less those that the process's mask takes away. So it
        // is never open to more users.
        fchmod(&socket, Mode::from_raw_mode(mode))?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(OwnedFd::from(socket).into())?,
            path: path.to_owned(),
            file: identity(path)?,
        })
    }

    /// Waits for a client.
    ///
    /// # Errors
    /// Returns the system's error.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Returns where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|file| FileId::of(&file))
}

/// Locks a folder until `dir` is closed. Any user who can open the folder can keep it locked.
async fn lock(dir: &fs::File) -> io::Result<()> {
    let end = Instant::now() + LOCKED;
    loop {
        match flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < end => sleep(AGAIN).await,
            Err(Errno::WOULDBLOCK) => {
                let what = "another process keeps its folder locked";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, what));
            }
            done => return Ok(done?),
        }
    }
}

/// Connects to a socket, without waiting for a process that accepts nothing.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        // As many wait as may.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        done => done,
    }
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let what = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(()) => {
            let what = "another process listens on it";
            Err(io::Error::new(io::ErrorKind::AddrInUse, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use testkit::stale_socket::leave_stale_socket;

    use super::*;

    fn rights(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_has_its_rights_and_is_gone_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.sock");
        for mode in [0o600, 0o660, 0o666] {
            let socket = UnixSocket::bind(&path, mode).await.unwrap();
            assert_eq!(rights(&path), mode);
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.sock");
        leave_stale_socket(&path);
        assert!(path.exists());
        let socket = UnixSocket::bind(&path, 0o600).await.unwrap();
        let second = UnixSocket::bind(&path, 0o600).await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        assert!(net::UnixStream::connect(&path).is_ok());
        drop(socket);

        fs::write(&path, "precious").unwrap();
        let refused = UnixSocket::bind(&path, 0o600).await.unwrap_err();
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        // A link is no socket, wherever it leads.
        let link = dir.path().join("link");
        let target = dir.path().join("target");
        leave_stale_socket(&target);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        UnixSocket::bind(&link, 0o600).await.unwrap_err();
        assert!(link.is_symlink() && target.exists());
    }

    #[tokio::test]
    async fn the_socket_of_another_process_is_left_alone_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.sock");
        let socket = UnixSocket::bind(&path, 0o600).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _other = net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    /// Neither who locks the folder nor who listens and accepts nothing holds up the start for longer.
    #[tokio::test]
    async fn nobody_holds_up_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.sock");
        let held = fs::File::open(dir.path()).unwrap();
        flock(&held, FlockOperation::LockShared).unwrap();
        let binding = UnixSocket::bind(&path, 0o600);
        tokio::time::pause();
        let refused = binding.await.unwrap_err();
        tokio::time::resume();
        assert!(refused.to_string().contains("locked"), "{refused}");
        drop(held);

        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _waiting = net::UnixStream::connect(&path).unwrap();
        let refused = UnixSocket::bind(&path, 0o600).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{refused}");
    }
}
