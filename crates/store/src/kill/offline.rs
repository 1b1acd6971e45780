//! The kills as the file alone has them, for a command that works where no gateway answers.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{Entry, FileError, Kill, KillFile};

impl KillFile {
    /// Reads every kill of the file, in the order of their setting, those that are over too. Blocks.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be read, or a line of it is damaged: a gateway that starts then cuts everything off.
    pub fn kills(&mut self) -> Result<Vec<Kill>, FileError> {
        let mut kills = BTreeMap::<Arc<str>, Kill>::new();
        loop {
            let content = self.read_on()?;
            let damage = content.damage.map(|damage| damage.to_string());
            for entry in content.entries {
                take(&mut kills, &entry).map_err(|what| self.damaged(what.to_owned()))?;
            }
            if let Some(damage) = damage {
                return Err(self.damaged(damage));
            }
            if !content.more {
                break;
            }
        }
        let mut kills: Vec<Kill> = kills.into_values().collect();
        kills.sort_by_key(|kill| kill.set_at);
        Ok(kills)
    }

    fn damaged(&self, what: String) -> FileError {
        FileError {
            act: "read",
            path: self.path().to_path_buf(),
            source: io::Error::other(what),
        }
    }
}

/// Takes one act in, as a gateway does: the first setting and the first end of a kill count.
fn take(kills: &mut BTreeMap<Arc<str>, Kill>, entry: &Entry) -> Result<(), &'static str> {
    match entry {
        Entry::Set(set) => {
            let kill = set.kill()?;
            kills.entry(Arc::clone(&kill.id)).or_insert(kill);
        }
        Entry::Clear(clear) => {
            let cleared = clear.cleared()?;
            if let Some(kill) = kills.get_mut(clear.id.as_str()) {
                kill.cleared.get_or_insert(cleared);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Instant, SystemTime},
    };

    use super::*;
    use crate::kill::{Clear, Scope, Set, State, Wish, text};

    fn set(target: &str) -> Set {
        let wish = Wish {
            scope: Scope::parse("server", Some(target)).unwrap(),
            tenant: None,
            reason: "test".to_owned(),
            by: "local:alice".to_owned(),
            lasts: None,
        };
        Set::of(&Kill::new(wish, SystemTime::now()).unwrap())
    }

    #[test]
    fn the_file_alone_has_what_is_active_and_what_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = KillFile::new(directory.path());
        assert_eq!(file.kills().unwrap(), []);
        let (crm, files) = (set("crm"), set("files"));
        let clear = |by: &str| {
            Entry::Clear(Clear {
                id: crm.id.clone(),
                reason: "over".to_owned(),
                by: by.to_owned(),
                at: text(SystemTime::now()),
            })
        };
        let acts = [
            Entry::Set(crm.clone()),
            Entry::Set(files),
            clear("first"),
            clear("second"),
        ];
        file.append(&acts).unwrap();
        let kills = KillFile::new(directory.path()).kills().unwrap();
        let states = kills.iter().map(|kill| kill.state(Instant::now()));
        assert_eq!(states.collect::<Vec<_>>(), [State::Cleared, State::Active]);
        assert_eq!(&*kills[0].cleared.as_ref().unwrap().by, "first");

        let path = file.path().to_path_buf();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("alice", "mallo")).unwrap();
        assert!(KillFile::new(directory.path()).kills().is_err());
    }
}
