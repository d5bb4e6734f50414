//! A hub with tests that need no sockets. Test it with `cargo test --example testing`, or serve it to SignalR clients
//! at http://127.0.0.1:8080/auction with `cargo run --example testing`.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use hubplane::config::{Authorize, Config};
use hubplane::hub::{Caller, HubError, HubRoute, Methods, State};
use hubplane::server::Server;

/// The highest bid, and who made it.
#[derive(Clone, Default)]
struct Auction(Arc<Mutex<(u64, String)>>);

async fn bid(caller: Caller, State(auction): State<Auction>, amount: u64) -> Result<(), HubError> {
    let user = caller.user_id().ok_or_else(|| HubError::client("log in first"))?.to_string();
    {
        let mut highest = auction.0.lock().unwrap_or_else(PoisonError::into_inner);
        if amount <= highest.0 {
            return Err(HubError::client(format!("{} has bid {}", highest.1, highest.0)));
        }
        *highest = (amount, user.clone());
    }
    caller.clients().all().send("HighestBid", (user, amount)).await?;
    Ok(())
}

/// Asks the highest bidder whether to sell.
async fn sell(caller: Caller, State(auction): State<Auction>, bidder: String) -> Result<bool, HubError> {
    let amount = auction.0.lock().unwrap_or_else(PoisonError::into_inner).0;
    caller.clients().client(bidder).invoke("Confirm", (amount,)).await
}

fn auction() -> HubRoute {
    let hub = Methods::with_state(Auction::default())
        .method("Bid", bid)
        .method("Sell", sell)
        .authorize("Sell", Authorize::user().role("auctioneer"));
    HubRoute::new("/auction", hub)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server =
        Server::builder(Config::default()).hub(auction()).user_id(|request| request.query("user").map(Into::into));
    server.build().await?.run_until_signal().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use hubplane::auth::Principal;
    use hubplane::testing::{TestError, TestHub};

    use super::auction;

    #[tokio::test]
    async fn a_higher_bid_is_sent_to_all_clients() -> Result<(), TestError> {
        let hub = TestHub::route(auction())?;
        let (ann, bob) = (hub.connect().user("ann").await?, hub.connect().user("bob").await?);
        ann.invoke::<()>("Bid", (100,)).await?;
        let call = bob.next_call().await?;
        assert_eq!(call.target, "HighestBid");
        assert_eq!(call.read::<(String, u64)>()?, ("ann".to_owned(), 100));

        let refused = bob.invoke::<()>("Bid", (99,)).await.unwrap_err();
        assert!(refused.to_string().ends_with("HubException: ann has bid 100"), "{refused}");
        // What a hub sends to its caller before it returns is received before the result.
        assert!(bob.try_next_call().is_none());
        Ok(())
    }

    #[tokio::test]
    async fn the_highest_bidder_is_asked() -> Result<(), TestError> {
        let hub = TestHub::route(auction())?;
        let ann = hub.connect().user("ann").await?;
        let host = Principal::named("host").with_roles(["auctioneer"]);
        let host = hub.connect().principal(host).await?;

        ann.invoke::<()>("Bid", (100,)).await?;
        assert_eq!(ann.next_call().await?.target, "HighestBid");
        let confirm = async {
            let call = ann.next_call().await?;
            assert_eq!((call.target.as_str(), &call.arguments[0]), ("Confirm", &100.into()));
            call.answer(true).await
        };
        let sell = host.invoke::<bool>("Sell", (ann.connection_id().as_str(),));
        let (sold, ()) = tokio::try_join!(sell, confirm)?;
        assert!(sold);
        Ok(())
    }

    #[tokio::test]
    async fn only_an_auctioneer_may_sell() -> Result<(), TestError> {
        let ann = TestHub::route(auction())?.connect().user("ann").await?;
        let refused = ann.invoke::<bool>("Sell", ("somebody",)).await.unwrap_err();
        assert_eq!(refused.to_string(), "Failed to invoke 'Sell' because user is unauthorized");
        Ok(())
    }
}
