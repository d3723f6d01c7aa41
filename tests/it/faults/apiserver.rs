//! The API server breaks. Its pods keep the labels and the UIDs that it last told.

use super::*;

fn allow(trial: &mut Trial) {
    trial.apiserver.allow();
}

fn refused(code: u16, text: &'static str) {
    let signs = Signs { down: Some("apiserver"), told: text, state: "used" };
    Trial::start().withstands(&signs, |trial| trial.apiserver.refuse(code, text), allow);
}

#[test]
fn it_is_gone() {
    let signs = Signs { down: Some("apiserver"), told: "failed to", state: "used" };
    Trial::start().withstands(&signs, |trial| trial.apiserver.die(), |trial| trial.apiserver.come_back());
}

#[test]
fn it_fails() {
    refused(500, "etcdserver: leader changed");
}

#[test]
fn it_asks_for_patience() {
    refused(429, "the server has received too many requests");
}

#[test]
fn it_forbids_everything() {
    refused(403, "pods is forbidden");
}

/// Ends the watches in some way; from then on they must be begun anew, and changes that happen meanwhile are seen.
fn watches_end(end: impl FnOnce(&FakeApiServer)) {
    let mut trial = Trial::start();
    end(&trial.apiserver);
    trial.apiserver.apply(&fake_apiserver::pod("ml", "trainer", "uid-1", &[("team", "vision")]));
    let scrape = trial.daemon.scrape_until("the new team's money", |scrape| {
        (scrape.sum(SHOWBACK, &[("team", "vision"), ("state", "used")]) > 0.0).then(|| scrape.clone())
    });
    assert_adds_up(&scrape);
    trial.scraper.was_served_promptly();
}

#[test]
fn it_closes_the_watches() {
    watches_end(FakeApiServer::close_watches);
}

#[test]
fn it_has_forgotten_where_we_were() {
    watches_end(FakeApiServer::compact);
}

#[test]
fn it_says_that_we_fell_behind() {
    watches_end(FakeApiServer::expire_watches);
}
