//! What the last inventories found: one item for each Azure subscription, and one for the model gateway.

use super::{Error, Store, encode, keys};
use crate::domain::inventory::Inventory;

impl Store {
    /// Loads the inventory of an Azure subscription, by its id, or of
    /// [`GATEWAY`](crate::domain::inventory::GATEWAY); one read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Corrupt`].
    pub async fn load_inventory(&self, of: &str) -> Result<Option<Inventory>, Error> {
        self.read("inventory", &keys::inventory(of)).await
    }

    /// Writes an inventory, which must still be as it was read: its `version` says so, 0 for none.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it changed meanwhile, [`Error::Unavailable`].
    pub async fn save_inventory(&self, inventory: &Inventory) -> Result<(), Error> {
        let read_version = Some(inventory.version).filter(|version| *version > 0);
        let saved = Inventory { version: inventory.version + 1, ..inventory.clone() };
        self.replace(&keys::inventory(&inventory.of), encode("inventory", &saved)?, read_version).await
    }
}
