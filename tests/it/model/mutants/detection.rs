//! Each mutant is seen, and by the promise that it breaks.

use std::io::Write as _;

use super::super::{Found, play};
use super::Mutant;

/// Plays worlds with the bug until a promise is broken, and says which: two thousand histories at most.
fn assert_detected(mutant: Mutant, as_one_of: &[&str]) {
    let mut histories = 0;
    let found = (1..=100).find_map(|seed| {
        let (counts, found) = play(seed, Some(mutant));
        histories += counts.histories;
        found
    });
    let _ = writeln!(std::io::stderr(), "{mutant:?} is looked for in {histories} histories");
    let Found { violation, story, .. } = found.unwrap_or_else(|| panic!("{mutant:?} is not seen"));
    let is_expected = as_one_of.iter().any(|expected| violation.broke.contains(expected));
    assert!(is_expected, "{mutant:?} is seen as something else: {violation:?}\n  {story}");
}

/// Plays worlds with a bug that does many kinds of harm until this one is the first to be seen.
fn assert_harm_detected(mutant: Mutant, harm: &str) {
    let is_harm = |found: Found| found.violation.broke.contains(harm);
    let is_seen = (1..=100).any(|seed| play(seed, Some(mutant)).1.is_some_and(is_harm));
    assert!(is_seen, "{mutant:?} is not seen by the promise that it breaks: {harm}");
}

#[test]
fn a_write_without_its_fence_is_seen() {
    // What a stopped worker writes late undoes what was learned of Stripe, and any step of another worker.
    assert_harm_detected(Mutant::SkipsTheFence, "an old word");
}

#[test]
fn events_applied_in_the_order_of_their_creation_are_seen() {
    assert_detected(Mutant::OrdersByCreated, &["an old word"]);
}

#[test]
fn a_row_read_after_the_fetch_is_seen() {
    assert_detected(Mutant::ReadsTheRowAfterTheFetch, &["an old word"]);
}

#[test]
fn a_forgotten_purge_is_seen() {
    assert_detected(Mutant::ForgetsThePurge, &["the vault holds"]);
}

#[test]
fn a_route_opened_before_the_container_is_healthy_is_seen() {
    assert_detected(Mutant::ActivatesBeforeHealth, &["activated before"]);
}

#[test]
fn names_that_differ_each_time_are_seen() {
    assert_detected(Mutant::NamesNothingTwice, &["missing at a vendor", "belongs to nobody"]);
}

#[test]
fn a_container_stopped_before_its_route_is_seen() {
    assert_detected(Mutant::StopsBeforeTheRoute, &["stopped before its route"]);
}

#[test]
fn a_clock_that_nobody_listens_to_is_seen() {
    assert_detected(
        Mutant::IgnoresWhatIsDue,
        &["ought to be", "was to be removed", "no longer says", "not looked at again"],
    );
}

#[test]
fn a_role_on_the_whole_vault_is_seen() {
    assert_detected(Mutant::OpensTheWholeVault, &["another identity can read"]);
}

#[test]
fn a_secret_in_a_row_is_seen() {
    assert_detected(Mutant::WritesASecretDown, &["a row holds"]);
}

#[test]
fn a_removal_that_is_never_rechecked_is_seen() {
    assert_detected(Mutant::NeverRechecks, &["holds what it ought not to"]);
}

#[test]
fn a_key_that_was_not_recorded_is_seen() {
    assert_detected(Mutant::RecordsNoKey, &["other secrets than those that are derived"]);
}

#[test]
fn a_forgotten_gift_is_seen() {
    assert_detected(Mutant::ForgetsTheGift, &["while a gift runs", "a gift is forgotten"]);
}

#[test]
fn a_second_trial_is_seen() {
    assert_detected(Mutant::OffersTheTrialAgain, &["a chat has two trials"]);
}

#[test]
fn a_grant_revoked_under_anothers_connection_is_seen() {
    assert_detected(Mutant::RevokesForEverybody, &["a connection lost its grant with another's"]);
}

#[test]
fn a_key_that_brings_an_error_back_is_seen() {
    assert_detected(Mutant::RepeatsTheKey, &["an error of Stripe's keeps a person from paying"]);
}

#[test]
fn a_receipt_written_before_the_recheck_is_seen() {
    assert_detected(Mutant::WritesTheReceiptFirst, &["holds what it ought not to"]);
}
