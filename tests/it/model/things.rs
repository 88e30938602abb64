//! What there is at vendors, and whose it is.

use std::collections::BTreeSet;

use super::google::tokens_of;
use super::person::Person;
use super::world::World;

/// Everything there is at vendors.
/// Everything there is at vendors.
pub(super) struct Left(pub(super) Vec<Thing>);

/// Where something is, and what.
pub(super) type Thing = (&'static str, String);

/// A promise that was broken, and what was found.
pub(super) type Broken = (&'static str, String);

impl Left {
    pub(super) fn of(world: &World) -> Self {
        let azure = world.azure.arm.resources().into_iter().map(|held| ("Azure", held.id.to_lowercase()));
        let keys = world.gateway.keys().into_iter().map(|key| ("the gateway", model_key(&key.name, key.disabled)));
        let secrets = world.azure.vault.names().into_iter().map(|name| ("the vault", name));
        Self(azure.chain(keys).chain(secrets).collect())
    }

    /// Whatever bears the names of a person's tenant.
    pub(super) fn belonging_to(&self, person: &Person) -> Vec<Thing> {
        let tokens = tokens_of(person.tenant);
        let names = [&person.names.resource, &person.names.secret, &tokens];
        self.0.iter().filter(|(_, what)| names.iter().any(|name| what.contains(*name))).cloned().collect()
    }
}

pub(super) fn model_key(name: &str, is_disabled: bool) -> String {
    format!("{name}{}", if is_disabled { ", disabled" } else { "" })
}

/// Nothing is there that ought not to be, nothing twice, and nothing is missing.
pub(super) fn compare_things(is: Vec<Thing>, ought: BTreeSet<Thing>) -> Result<(), Broken> {
    let mut lacking = ought;
    let left: Vec<Thing> = is.into_iter().filter(|thing| !lacking.remove(thing)).collect();
    let broke = match left.first().map(|(place, _)| *place) {
        Some("Azure") => "Azure holds what it ought not to",
        Some("the gateway") => "the gateway holds what it ought not to",
        Some(_) => "the vault holds what it ought not to",
        None if lacking.is_empty() => return Ok(()),
        None => "something is missing at a vendor",
    };
    Err((broke, format!("{left:#?}, and lacks {lacking:#?}")))
}
