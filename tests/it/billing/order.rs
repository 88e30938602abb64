//! Whatever becomes of Stripe's events on their way, the row ends as Stripe has it.

use std::time::Duration;

use nbhd::domain::subscription::Subscription;
use nbhd_sim::stripe::{AfterDunning, Disorder, Event, SubscriptionStart};

use crate::billing::world::{DAY, Person, World};

const HOUR: Duration = Duration::from_secs(3600);

/// Two months of somebody's life: a payment fails, is made up for, they leave and come back. Ends on the same day.
async fn months(world: &World, deliver: bool) -> Person {
    let person = world.person().await;
    world.stripe.ends_dunning_with(AfterDunning::Unpaid);
    world.subscribes(&person, SubscriptionStart::Paid);
    for day in 0..70 {
        match day {
            20 => world.stripe.card_fails(&person.customer),
            34 => world.stripe.pays_open(&person.customer),
            40 => world.stripe.cancels_at_period_end(&person.customer, true),
            42 => world.stripe.cancels_at_period_end(&person.customer, false),
            50 => world.stripe.cancels(&person.customer),
            55 => drop(world.subscribes(&person, SubscriptionStart::Paid)),
            60 => world.stripe.disputes(&person.customer),
            _ => {}
        }
        if deliver {
            world.deliver().await;
        }
        world.clock.advance(DAY);
    }
    person
}

/// The subscription without its name, which differs from world to world.
async fn end(world: &World, person: &Person) -> Subscription {
    let known = world.subscription(person).await.expect("known");
    assert_eq!(known.id, world.stripe.subscription(&person.customer).expect("subscribed").id);
    Subscription { id: String::new(), ..known }
}

#[tokio::test]
async fn months_of_events_shuffled_and_repeated_end_as_in_order() {
    let in_order = World::start().await;
    let person = months(&in_order, true).await;
    in_order.deliver().await;
    let expected = end(&in_order, &person).await;

    for seed in 0..8 {
        let world = World::start().await;
        let person = months(&world, false).await;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut events: Vec<Event> = world.stripe.events();
        events.extend(world.stripe.events());
        random.shuffle(&mut events);
        for event in &events {
            assert_eq!(world.post(event).await, 200, "seed {seed}");
        }
        assert_eq!(end(&world, &person).await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn months_of_late_and_repeated_events_end_as_in_order() {
    let in_order = World::start().await;
    let person = months(&in_order, true).await;
    in_order.deliver().await;
    let expected = end(&in_order, &person).await;

    for seed in 0..8 {
        let world = World::start().await;
        world.stripe.disorders_deliveries(Some(Disorder { seed, duplicates: 40, losses: 0, delay: HOUR * 60 }));
        let person = months(&world, true).await;
        assert_eq!(world.stripe.pending(), 0, "seed {seed}");
        assert_eq!(end(&world, &person).await, expected, "seed {seed}");
    }
}
