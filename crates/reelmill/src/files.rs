//! Digests and durability of local files.

use sha2::{Digest, Sha512};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// SHA-512 of a file, hexadecimal.
pub(crate) async fn sha512(path: &Path) -> std::io::Result<String> {
    let path = path.to_owned();
    blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let mut digest = Sha512::new();
        let mut block = vec![0; BLOCK];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(hex::encode(digest.finalize())),
                read => digest.update(&block[..read]),
            }
        }
    })
    .await
}

/// Bytes of each end of a file that tell it apart from others.
const END: u64 = 65_536;

/// The first and the last bytes of a file of `length` bytes.
pub(crate) fn ends(file: &mut std::fs::File, length: u64) -> std::io::Result<[Vec<u8>; 2]> {
    let size = END.min(length);
    let mut ends = [vec![0; size as usize], vec![0; size as usize]];
    for (end, from) in ends.iter_mut().zip([0, length - size]) {
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(end)?;
    }
    Ok(ends)
}

/// Makes a file's bytes durable.
pub(crate) async fn sync(path: &Path) -> std::io::Result<()> {
    let path = path.to_owned();
    blocking(move || std::fs::File::open(path)?.sync_all()).await
}

/// Bytes free in a folder, where that can be told.
pub(crate) fn free(folder: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Renames without replacing: by a hard link where there are such, which
/// network file systems do atomically too.
pub(crate) fn rename_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn digest_of_a_known_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        // FIPS 180-4, example for SHA-512.
        let digest = super::sha512(file.path()).await.unwrap();
        assert!(digest.starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
    }
}
