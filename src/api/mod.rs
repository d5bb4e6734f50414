//! Floor 8: HTTP beside the hubs: health, readiness, metrics, the demo page.
