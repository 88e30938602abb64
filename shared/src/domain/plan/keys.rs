//! Which generation of keys is made next, and with which runtime key.

use super::{Spec, Step};
use crate::domain::tenant::{Lifecycle, Tenant};

pub(super) fn plan_keys(tenant: &Tenant, spec: &Spec, steps: &mut Vec<Step>) {
    let mut generation = tenant.newest_generation();
    if generation.key.is_none() && tenant.lifecycle == Lifecycle::Pending {
        // The step that ends this state records it.
        generation.key = Some(spec.newest_key);
    }
    match &tenant.reconcile.resources.keys {
        Some(keys) if keys.generation == generation => {
            if keys.disabled || keys.limit_cents != spec.limit_cents {
                steps.push(Step::SetModelKey { disabled: false, limit_cents: spec.limit_cents });
            }
        }
        // What was recorded is made, whichever key is the newest by now; unless nobody could use it.
        Some(_) | None => {
            if !spec.lists(generation.key) {
                steps.push(Step::ChooseKey(spec.newest_key));
                generation.key = Some(spec.newest_key);
            }
            steps.push(Step::WriteKeys { generation, limit_cents: spec.limit_cents });
        }
    }
}

/// Whether a rotation begins, once the present keys are whole and the one before has left nothing behind: for an active
/// tenant when an operator asked for it, and for any when its runtime key is not listed any more, since nothing can be
/// delivered to it.
pub(super) fn may_rotate(tenant: &Tenant, spec: &Spec) -> bool {
    let resources = &tenant.reconcile.resources;
    let is_free = tenant.other_generation.is_none() && resources.former_keys.is_none() && resources.keys.is_some();
    let is_requested = tenant.rotation_requested && tenant.lifecycle == Lifecycle::Active;
    is_free && (is_requested || !spec.lists(tenant.generation.key))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{converged, key, keys, spec, subscribed};
    use super::super::{Learned, apply, plan};
    use super::*;
    use crate::clock::Timestamp;
    use crate::domain::generation::{Generation, KeyId};
    use crate::domain::subscription::Status;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// These keys are listed, the newest first.
    fn listing(ids: &[&str]) -> Spec {
        let ids: Vec<KeyId> = ids.iter().map(|id| key(id)).collect();
        Spec { newest_key: ids[0], older_keys: ids[1..].to_vec(), ..spec() }
    }

    fn steps(tenant: &Tenant, spec: &Spec) -> Vec<Step> {
        plan(tenant, spec, NOW).steps
    }

    fn write_keys(generation: &str) -> Step {
        Step::WriteKeys { generation: generation.parse().expect("a generation"), limit_cents: 500 }
    }

    #[test]
    fn a_rotation_keeps_both_generations_until_the_new_one_is_up() {
        let listed = listing(&["k2", "k1"]);
        let mut tenant = Tenant { rotation_requested: true, ..converged(Status::Active) };
        assert_eq!(steps(&tenant, &listed), [Step::BeginRotation(key("k2"))]);
        apply(&mut tenant, &Learned::RotationStarted(key("k2")), NOW);
        assert_eq!(steps(&tenant, &listed)[..2], [write_keys("k2.2"), Step::EndRotation]);
        tenant.reconcile.resources.former_keys = tenant.reconcile.resources.keys.replace(keys("k2.2"));
        assert_eq!(steps(&tenant, &listed), [Step::EndRotation]);
        apply(&mut tenant, &Learned::RotationEnded, NOW);
        assert_eq!((tenant.generation, tenant.other_generation), (Generation::new(key("k2"), 2), None));
        assert_eq!(steps(&tenant, &listed), [Step::DropFormerKeys]);
    }

    #[test]
    fn a_generation_is_made_with_the_key_that_was_recorded_for_it() {
        let mut tenant = subscribed(Status::Active);
        let changed = Learned::LifecycleChanged { lifecycle: Lifecycle::Provisioning, newest_key: key("k1") };
        apply(&mut tenant, &changed, NOW);
        for listed in [listing(&["k1"]), listing(&["k2", "k1"]), listing(&["k3", "k2", "k1"])] {
            assert!(steps(&tenant, &listed).contains(&write_keys("k1.1")), "{listed:?}");
        }
        apply(
            &mut tenant,
            &Learned::LifecycleChanged { lifecycle: Lifecycle::Provisioning, newest_key: key("k2") },
            NOW,
        );
        assert_eq!(tenant.generation, Generation::new(key("k1"), 1), "it is not chosen twice");
        let mut rotating = Tenant { rotation_requested: true, ..converged(Status::Active) };
        apply(&mut rotating, &Learned::RotationStarted(key("k1")), NOW);
        assert_eq!(steps(&rotating, &listing(&["k2", "k1"]))[0], write_keys("k1.2"));
    }

    #[test]
    fn one_whose_key_was_removed_before_it_was_made_is_made_with_the_newest() {
        let mut tenant = subscribed(Status::Active);
        tenant.lifecycle = Lifecycle::Provisioning;
        let listed = listing(&["k3", "k2"]);
        for (recorded, made) in [("k1.1", "k3.1"), ("1", "k3.1"), ("k2.1", "k2.1")] {
            tenant.generation = recorded.parse().expect("a generation");
            let steps = steps(&tenant, &listed);
            assert!(steps.contains(&write_keys(made)), "{steps:?}");
            assert_eq!(steps.contains(&Step::ChooseKey(key("k3"))), made != recorded);
        }
        let mut rotating = converged(Status::Active);
        rotating.other_generation = Some(Generation::new(key("k2"), 2));
        assert_eq!(steps(&rotating, &listing(&["k3", "k1"]))[..2], [Step::ChooseKey(key("k3")), write_keys("k3.2")]);
        apply(&mut rotating, &Learned::KeyChosen(key("k3")), NOW);
        assert_eq!(rotating.other_generation, Some(Generation::new(key("k3"), 2)));
        assert_eq!(rotating.generation, Generation::new(key("k1"), 1));
    }

    #[test]
    fn a_tenant_whose_key_is_not_listed_any_more_gets_new_ones_by_itself() {
        let mut tenant = converged(Status::Active);
        assert_eq!(steps(&tenant, &listing(&["k2", "k1"])), []);
        assert_eq!(steps(&tenant, &listing(&["k2"])), [Step::BeginRotation(key("k2"))]);
        // One that goes on ends first, and the next one follows.
        tenant.other_generation = Some(Generation::new(key("k2"), 2));
        tenant.reconcile.resources.former_keys = tenant.reconcile.resources.keys.replace(keys("k2.2"));
        assert_eq!(steps(&tenant, &listing(&["k3"])), [Step::EndRotation]);
        apply(&mut tenant, &Learned::RotationEnded, NOW);
        tenant.reconcile.resources.former_keys = None;
        assert_eq!(steps(&tenant, &listing(&["k3"])), [Step::BeginRotation(key("k3"))]);
    }

    #[test]
    fn a_suspended_tenant_gets_new_keys_when_it_resumes() {
        let mut tenant = Tenant { held: true, rotation_requested: true, ..converged(Status::Active) };
        tenant.lifecycle = Lifecycle::Suspended;
        let begins = Step::BeginRotation(key("k2"));
        assert!(!steps(&tenant, &listing(&["k2"])).contains(&begins), "nothing of it runs");
        (tenant.held, tenant.lifecycle) = (false, Lifecycle::Provisioning);
        assert!(steps(&tenant, &listing(&["k2"])).contains(&begins));
        assert!(!steps(&tenant, &listing(&["k2", "k1"])).contains(&begins), "what was only asked for can wait");
    }
}
