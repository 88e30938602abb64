//! What Google refuses for good, by every form of its errors: about the account, about our project, about the scope.

use nbhd_sim::google::{Endpoint, Failure};

use crate::runtime::world::World;

const GMAIL: &str = "gmail/messages/";
const EVENTS: &str = "google-calendar/events/";
const FREEBUSY: &str = "google-calendar/freebusy/";

const PLACES: [(Endpoint, &str); 3] =
    [(Endpoint::MessagesList, GMAIL), (Endpoint::EventsList, EVENTS), (Endpoint::FreeBusy, FREEBUSY)];

#[tokio::test]
async fn an_account_without_the_service_is_a_final_answer_with_a_sentence_of_its_own() {
    let world = World::start().await;
    for (endpoint, path) in PLACES {
        let service = if endpoint == Endpoint::MessagesList { "Gmail" } else { "Google Calendar" };
        for failure in [Failure::NoMailbox, Failure::Forbidden("notACalendarUser"), Failure::Forbidden("domainPolicy")]
        {
            world.google.faults.fail_next(endpoint, failure.clone());
            let answer = world.get(path).await;
            let expected = (409, "provider_unavailable_for_account".to_owned());
            assert_eq!(answer.error(), expected, "{path}: {failure:?}");
            assert!(answer.detail().contains(service) && answer.detail().contains("/connect"), "{}", answer.detail());
            assert_eq!(answer.retry_after(), None);
            assert_eq!(world.get(path).await.status, 200, "nothing is remembered");
        }
    }
}

#[tokio::test]
async fn a_failed_precondition_of_another_kind_says_nothing_about_the_account() {
    let world = World::start().await;
    world.google.faults.fail_next(Endpoint::MessagesList, Failure::Precondition);
    assert_eq!(world.get(GMAIL).await.error(), (502, "provider_request_failed".to_owned()));
}

#[tokio::test]
async fn a_project_that_is_set_up_wrongly_raises_an_alarm_and_blames_nobody_else() {
    let world = World::start().await;
    for (endpoint, path) in PLACES {
        for failure in [
            Failure::ApiDisabled,
            Failure::KeyInvalid,
            Failure::Forbidden("accessNotConfigured"),
            Failure::ForbiddenInDetails("CONSUMER_SUSPENDED"),
        ] {
            nbhd::telemetry::capture();
            world.google.faults.fail_next(endpoint, failure.clone());
            let answer = world.get(path).await;
            assert_eq!(answer.error(), (503, "provider_not_configured".to_owned()), "{path}: {failure:?}");
            let emitted = nbhd::telemetry::capture();
            assert!(emitted.contains("\"GoogleProjectRefused\":1"), "{path}: {failure:?}: {emitted}");
        }
    }
}

#[tokio::test]
async fn a_missing_scope_is_read_in_either_form() {
    let world = World::start().await;
    for (endpoint, path) in PLACES {
        for failure in [
            Failure::Forbidden("insufficientPermissions"),
            Failure::ForbiddenInDetails("ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
        ] {
            world.google.faults.fail_next(endpoint, failure.clone());
            let expected = (409, "integration_scope_insufficient".to_owned());
            assert_eq!(world.get(path).await.error(), expected, "{path}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn a_wait_in_the_body_is_handed_on_as_one_in_the_header() {
    let world = World::start().await;
    for (endpoint, path) in PLACES {
        world.google.faults.fail_next(endpoint, Failure::ThrottledInBody(36));
        let answer = world.get(path).await;
        assert_eq!((answer.error(), answer.retry_after()), ((429, "provider_rate_limited".to_owned()), Some("36")));
    }
}
