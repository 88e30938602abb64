//! The record of the newest release's rollout: one item.

use super::{Error, Store, encode, keys};
use crate::domain::release::Rollout;

impl Store {
    /// Loads the rollout; one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn load_rollout(&self) -> Result<Option<Rollout>, Error> {
        self.read("rollout", &keys::rollout()).await
    }

    /// Writes the rollout, which must still be as it was read: its `version` says so, 0 for none.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it changed meanwhile, [`Error::Unavailable`].
    pub async fn save_rollout(&self, rollout: &Rollout) -> Result<(), Error> {
        let read_version = Some(rollout.version).filter(|version| *version > 0);
        let saved = Rollout { version: rollout.version + 1, ..rollout.clone() };
        self.replace(&keys::rollout(), encode("rollout", &saved)?, read_version).await
    }
}
