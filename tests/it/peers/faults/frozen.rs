//! A disk that hangs for real: a file system that is frozen, so that a write waits where no signal ends it. As root only; the shim
//! cannot make this fault, since a thread that sleeps in it ends with its process.

use std::path::{Path, PathBuf};

use keepgate_machine::installed;
use nix::sys::signal::Signal;
use serde_json::json;

use super::super::gate::Home;
use super::super::process::{PATIENCE, Running, command, until};

/// A file system of its own, frozen or not.
struct Disk {
    folder: tempfile::TempDir,
}

async fn run(program: Option<PathBuf>, words: &[&str]) -> bool {
    let Some(program) = program else {
        return false;
    };
    let name = program.display().to_string();
    let done = Running::start(&name, command(&program, words));
    done.finished(PATIENCE).await.code == Some(0)
}

impl Disk {
    /// `None`, with the skip recorded, where this user or machine cannot mount a file.
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(64 << 20))
            .expect("a file");
        let place = folder.path().join("disk");
        std::fs::create_dir(&place).expect("a folder");
        let (image, at) = (image.display().to_string(), place.display().to_string());
        let is_mounted = run(installed("mkfs.ext4"), &["-q", &image]).await
            && run(installed("mount"), &["-o", "loop", &image, &at]).await;
        if !is_mounted {
            keepgate_machine::skip(
                "no file can be mounted here (that takes root and a loop device)",
            );
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    async fn freeze(&self, is_frozen: bool) {
        let word = if is_frozen { "-f" } else { "-u" };
        let path = self.path().display().to_string();
        assert!(
            run(installed("fsfreeze"), &[word, &path]).await,
            "fsfreeze {word}"
        );
    }

    /// To be called before the test may fail: nobody else ends a wait for a frozen disk.
    async fn end(self) {
        let path = self.path().display().to_string();
        until("the disk to be free", async || {
            run(installed("umount"), &[&path]).await
        })
        .await;
    }
}

/// `keepgate kill set`, and whether it came back while the disk hung.
async fn killed(home: &Home, disk: &Disk) -> (Option<i32>, bool) {
    let set = home.keepgate(&["kill", "set", "server", "up", "--reason", "a frozen disk"]);
    let set = tokio::time::timeout(PATIENCE / 4, set).await;
    disk.freeze(false).await;
    (set.as_ref().ok().and_then(|set| set.code), set.is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_on_a_frozen_disk_is_reported_and_its_command_comes_back() {
    let Some(disk) = Disk::new().await else {
        return;
    };
    let state = disk.path().join("state");
    let home = Home::new()
        .url("up", "http://127.0.0.1:9/mcp")
        .with(|it| it["state"]["dir"] = json!(state));
    let gate = home.serve().await;
    disk.freeze(true).await;
    let (code, came_back) = killed(&gate.home, &disk).await;
    let written = async || entries(&state) > 0;
    until("the kill to be in the file", written).await;
    gate.process.signal(Signal::SIGTERM);
    let mut process = gate.process;
    process.ended(PATIENCE).await;
    disk.end().await;
    assert!(came_back);
    assert_eq!(code, Some(13));
}

fn entries(state: &Path) -> usize {
    let text = std::fs::read_to_string(state.join("kill.log")).unwrap_or_default();
    text.lines().count()
}
