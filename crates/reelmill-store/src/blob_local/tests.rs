//! Blobs as files: whole or not at all, over crashes and lost connections.

use super::LocalBlobs;
use crate::blob::{BlobError, BlobStore};
use bytes::Bytes;
use reelmill_core::error::FailureClass;
use reelmill_core::id::BlobId;
use sha2::{Digest, Sha512};
use std::path::Path;
use tokio::io::AsyncReadExt;
use uuid::Uuid;

fn id(number: u128) -> BlobId {
    BlobId(Uuid::from_u128(number))
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha512::digest(bytes))
}

async fn open(root: &Path) -> LocalBlobs {
    LocalBlobs::open(root).await.unwrap()
}

async fn content(blobs: &LocalBlobs, of: BlobId, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    blobs.read(of, range).await.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn put(blobs: &LocalBlobs, of: BlobId, bytes: &[u8]) {
    let mut writer = blobs.create(of).await.unwrap();
    writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    writer.commit().await.unwrap();
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn a_blob_appears_whole_with_its_digest() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut writer = blobs.create(id(1)).await.unwrap();
    writer.write(Bytes::from_static(b"one ")).await.unwrap();
    writer.write(Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(blobs.len(id(1)).await.unwrap(), None, "not before it is whole");
    assert_eq!(blobs.local_path(id(1)).await.unwrap(), None);
    let blob = writer.commit().await.unwrap();
    assert_eq!((blob.id, blob.bytes, &blob.sha512), (id(1), 7, &digest(b"one two")));
    assert_eq!(blobs.len(id(1)).await.unwrap(), Some(7));
    let path = blobs.local_path(id(1)).await.unwrap().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"one two");
    assert_eq!(files(&root.path().join("temp")), 0);
    let blobs = open(root.path()).await;
    assert_eq!(content(&blobs, id(1), None).await, b"one two");
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let blob = blobs.create(id(1)).await.unwrap().commit().await.unwrap();
    assert_eq!((blob.bytes, blob.sha512), (0, digest(b"")));
    assert_eq!(content(&blobs, id(1), None).await, b"");
    assert_eq!(content(&blobs, id(1), Some(0..0)).await, b"");
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut writer = blobs.create(id(1)).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    drop(writer);
    assert_eq!(files(&root.path().join("temp")), 0);
    assert!(blobs.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_large_blob_has_its_digest_too() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut writer = blobs.create(id(1)).await.unwrap();
    let pieces: Vec<_> = (0..40u8).map(|at| Bytes::from(vec![at; 1 << 20])).collect();
    for piece in &pieces {
        writer.write(piece.clone()).await.unwrap();
    }
    let blob = writer.commit().await.unwrap();
    assert_eq!((blob.bytes, blob.sha512), (40 << 20, digest(&pieces.concat())));
    assert_eq!(content(&blobs, id(1), None).await, pieces.concat());
}

#[tokio::test]
async fn two_attempts_at_one_blob_do_not_mix() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut one = blobs.create(id(1)).await.unwrap();
    let mut two = blobs.create(id(1)).await.unwrap();
    one.write(Bytes::from_static(b"first")).await.unwrap();
    two.write(Bytes::from_static(b"second")).await.unwrap();
    two.commit().await.unwrap();
    assert_eq!(content(&blobs, id(1), None).await, b"second");
    assert_eq!(one.commit().await.unwrap().sha512, digest(b"first"));
    assert_eq!(content(&blobs, id(1), None).await, b"first");
}

#[tokio::test]
async fn ranges_are_read_and_those_beyond_the_end_refused() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    put(&blobs, id(1), b"0123456789").await;
    assert_eq!(content(&blobs, id(1), Some(0..10)).await, b"0123456789");
    assert_eq!(content(&blobs, id(1), Some(3..6)).await, b"345");
    assert_eq!(content(&blobs, id(1), Some(10..10)).await, b"");
    let beyond = blobs.read(id(1), Some(5..11)).await.err();
    assert_eq!(beyond, Some(BlobError::Range { id: id(1), range: 5..11, bytes: 10 }));
    let missing = blobs.read(id(2), None).await.err();
    assert_eq!(missing, Some(BlobError::Missing(id(2))));
}

#[tokio::test]
async fn what_a_crash_left_behind_is_cleaned_but_uploads_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    put(&blobs, id(1), b"whole").await;
    let mut writer = blobs.create(id(2)).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    // As a crash does: nobody cleans up.
    std::mem::forget(writer);
    std::fs::create_dir(blobs.scratch_dir().join("attempt")).unwrap();
    std::fs::write(blobs.scratch_dir().join("attempt/part.mkv"), "x").unwrap();
    let mut upload = blobs.upload(id(3)).await.unwrap();
    upload.append(Bytes::from_static(b"upl")).await.unwrap();
    drop(upload);
    let blobs = open(root.path()).await;
    assert_eq!(blobs.clean_partials().await.unwrap(), 2);
    assert_eq!(blobs.clean_partials().await.unwrap(), 0);
    assert_eq!(files(blobs.scratch_dir()) + files(&root.path().join("temp")), 0);
    assert_eq!(content(&blobs, id(1), None).await, b"whole");
    assert_eq!(blobs.upload_len(id(3)).await.unwrap(), Some(3));
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut upload = blobs.upload(id(1)).await.unwrap();
    upload.append(Bytes::from_static(b"first ")).await.unwrap();
    assert_eq!(upload.sync().await.unwrap(), 6);
    drop(upload);
    let mut upload = blobs.upload(id(1)).await.unwrap();
    assert_eq!(upload.offset(), 6);
    upload.append(Bytes::from_static(b"second ")).await.unwrap();
    std::mem::forget(upload);

    let blobs = open(root.path()).await;
    let waiting = blobs.uploads().await.unwrap();
    assert_eq!(waiting.iter().map(|one| (one.id, one.bytes)).collect::<Vec<_>>(), [(id(1), 13)]);
    let mut upload = blobs.upload(id(1)).await.unwrap();
    assert_eq!(upload.offset(), 13);
    upload.append(Bytes::from_static(b"third")).await.unwrap();
    let whole = b"first second third";
    let blob = upload.finish(Some(&digest(whole).to_uppercase())).await.unwrap();
    assert_eq!((blob.bytes, blob.sha512), (18, digest(whole)));
    assert_eq!(content(&blobs, id(1), None).await, whole);
    assert_eq!(blobs.upload_len(id(1)).await.unwrap(), None);
    assert!(blobs.uploads().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_that_is_not_what_was_announced_is_thrown_away() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut upload = blobs.upload(id(1)).await.unwrap();
    upload.append(Bytes::from_static(b"damaged")).await.unwrap();
    let error = upload.finish(Some(&digest(b"intact"))).await.unwrap_err();
    let (expected, found) = (digest(b"intact"), digest(b"damaged"));
    assert_eq!(error, BlobError::Digest { id: id(1), expected, found });
    assert_eq!(blobs.len(id(1)).await.unwrap(), None);
    assert_eq!(blobs.upload(id(1)).await.unwrap().offset(), 0, "it begins anew");
}

#[tokio::test]
async fn the_later_connection_has_the_upload() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut old = blobs.upload(id(1)).await.unwrap();
    old.append(Bytes::from_static(b"ab")).await.unwrap();
    let mut new = blobs.upload(id(1)).await.unwrap();
    assert_eq!(new.offset(), 2);
    assert_eq!(
        old.append(Bytes::from_static(b"xx")).await.unwrap_err(),
        BlobError::Superseded(id(1))
    );
    assert_eq!(old.sync().await.unwrap_err(), BlobError::Superseded(id(1)));
    new.append(Bytes::from_static(b"cd")).await.unwrap();
    assert_eq!(old.finish(None).await.unwrap_err(), BlobError::Superseded(id(1)));
    let blob = new.finish(None).await.unwrap();
    assert_eq!(blob.sha512, digest(b"abcd"));
}

#[tokio::test]
async fn an_upload_that_is_discarded_is_gone_for_its_sender_too() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut upload = blobs.upload(id(1)).await.unwrap();
    upload.append(Bytes::from_static(b"ab")).await.unwrap();
    assert!(blobs.upload_discard(id(1)).await.unwrap());
    assert!(!blobs.upload_discard(id(1)).await.unwrap());
    assert_eq!(
        upload.append(Bytes::from_static(b"c")).await.unwrap_err(),
        BlobError::Superseded(id(1))
    );
    assert_eq!(blobs.upload_len(id(1)).await.unwrap(), None);
}

#[tokio::test]
async fn more_uploads_than_are_remembered_still_get_their_digest_right() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let mut first = blobs.upload(id(1)).await.unwrap();
    first.append(Bytes::from_static(b"early ")).await.unwrap();
    drop(first);
    for number in 2..1100 {
        blobs.upload(id(number)).await.unwrap();
    }
    let mut upload = blobs.upload(id(1)).await.unwrap();
    upload.append(Bytes::from_static(b"late")).await.unwrap();
    assert_eq!(upload.finish(None).await.unwrap().sha512, digest(b"early late"));
}

#[tokio::test]
async fn an_append_that_nobody_waits_for_is_whole_or_absent() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    for polls in 0..20 {
        let mut upload = blobs.upload(id(1)).await.unwrap();
        let mut append = Box::pin(upload.append(Bytes::from_static(b"0123456789")));
        for _ in 0..polls {
            let step = std::future::poll_fn(|context| {
                std::task::Poll::Ready(append.as_mut().poll(context).is_ready())
            });
            if step.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(append);
        drop(upload);
    }
    let upload = blobs.upload(id(1)).await.unwrap();
    let bytes = upload.offset();
    assert_eq!(bytes % 10, 0);
    let blob = upload.finish(None).await.unwrap();
    assert_eq!(blob.sha512, digest(&b"0123456789".repeat(bytes as usize / 10)));
}

#[tokio::test]
async fn a_finished_file_is_moved_in() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let path = blobs.scratch_dir().join("part.mkv");
    std::fs::write(&path, "encoded").unwrap();
    let blob = blobs.adopt(&path, id(1)).await.unwrap();
    assert_eq!((blob.bytes, blob.sha512), (7, digest(b"encoded")));
    assert!(!path.exists());
    assert_eq!(content(&blobs, id(1), None).await, b"encoded");
    let missing = blobs.adopt(&path, id(2)).await.unwrap_err();
    assert!(missing.to_string().contains("part.mkv"), "{missing}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_of_another_file_system_is_copied_in() {
    use std::os::linux::fs::MetadataExt;
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |path: &Path| std::fs::metadata(path).unwrap().st_dev();
    if device(elsewhere.path()) == device(root.path()) {
        return;
    }
    let path = elsewhere.path().join("part.mkv");
    std::fs::write(&path, "encoded").unwrap();
    let blob = blobs.adopt(&path, id(1)).await.unwrap();
    assert_eq!(blob.sha512, digest(b"encoded"));
    assert!(!path.exists());
    assert_eq!(content(&blobs, id(1), None).await, b"encoded");
}

#[tokio::test]
async fn blobs_are_listed_and_deleted() {
    let root = tempfile::tempdir().unwrap();
    let blobs = open(root.path()).await;
    for number in 1..=40u128 {
        put(&blobs, id(number * 7919), &vec![0; number as usize]).await;
    }
    std::fs::write(root.path().join("blobs/notes.txt"), "not ours").unwrap();
    let mut listed = blobs.list().await.unwrap();
    listed.sort_by_key(|entry| entry.id);
    let sizes: Vec<u64> = listed.iter().map(|entry| entry.bytes).collect();
    assert_eq!(sizes, (1..=40).collect::<Vec<u64>>());
    assert!(listed.iter().all(|entry| entry.written.0 > 1_600_000_000_000_000));
    assert!(blobs.delete(listed[0].id).await.unwrap());
    assert!(!blobs.delete(listed[0].id).await.unwrap());
    assert_eq!(blobs.list().await.unwrap().len(), 39);
    assert!(blobs.space().await.unwrap().is_some_and(|free| free > 0));
}

#[test]
fn a_full_disk_is_told_apart() {
    use std::io::{Error, ErrorKind};
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
        let error = BlobError::io("write /state/x", &Error::from(kind));
        assert_eq!(error, BlobError::NoSpace("write /state/x".into()));
        assert_eq!(error.failure().class, FailureClass::NoSpace);
    }
    let other = BlobError::io("write /state/x", &Error::other("cable"));
    assert_eq!(other.failure().class, FailureClass::Transient);
    assert!(other.to_string().contains("cable"));
}
