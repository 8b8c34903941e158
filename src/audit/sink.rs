//! Where lines go.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

use super::tail::Tail;

/// A destination of lines.
pub(super) trait Sink: Send + 'static {
    /// Returns the name, for the log.
    fn name(&self) -> String;

    /// Makes sure that the next lines reach who looks for them. If they go to another place than the last ones did, returns
    /// how that place ends now.
    ///
    /// # Errors
    /// Returns why the next lines wouldn't reach anybody.
    fn ready(&mut self) -> io::Result<Option<Tail>>;

    /// Writes bytes behind the others.
    ///
    /// # Errors
    /// Returns how many bytes were written, and why not all.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Partial>;

    /// Waits until the disk has what was written.
    ///
    /// # Errors
    /// Returns why the disk may not have it.
    fn sync(&mut self) -> io::Result<()>;
}

/// A write that failed.
#[derive(Debug)]
pub(super) struct Partial {
    pub written: usize,
    pub error: io::Error,
}

/// Writes all bytes, and tells how many were written if that fails.
pub(super) fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), Partial> {
    let mut written = 0;
    while written < bytes.len() {
        let error = match out.write(&bytes[written..]) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(more) => {
                written += more;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        return Err(Partial { written, error });
    }
    Ok(())
}

/// The standard output, without a buffer.
#[derive(Debug)]
pub(super) struct Stdout(File);

impl Stdout {
    /// Opens it.
    ///
    /// # Errors
    /// Returns the system's error, such as that it is closed.
    pub fn open() -> io::Result<Self> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self(File::from(descriptor)))
    }
}

impl Sink for Stdout {
    fn name(&self) -> String {
        "stdout".to_owned()
    }

    fn ready(&mut self) -> io::Result<Option<Tail>> {
        Ok(None)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Partial> {
        write_all(&mut self.0, bytes)
    }

    /// Does nothing: who reads it keeps the lines.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
