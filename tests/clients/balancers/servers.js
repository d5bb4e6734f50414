// Starts two replicas of a hubplane binary on a Redis of their own, with short intervals for pings and idle polls.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { freePort } from "./proxies.js";

export const QUICK = { keepAlive: 1, pollTimeout: 2 }; // seconds

export async function replicas(binary) {
  const redis = await freePort();
  const children = [spawn("redis-server", ["--port", redis, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], { stdio: "ignore" })];
  const bases = [];
  for (let i = 0; i < 2; i++) {
    const port = await freePort();
    const env = {
      ...process.env,
      HUBPLANE_LISTEN: `127.0.0.1:${port}`,
      HUBPLANE_BACKPLANE__CONNECTION: `127.0.0.1:${redis}`,
      HUBPLANE_HUB_DEFAULTS__KEEP_ALIVE_INTERVAL: `${QUICK.keepAlive}s`,
      HUBPLANE_HUB_DEFAULTS__LONG_POLLING_POLL_TIMEOUT: `${QUICK.pollTimeout}s`,
    };
    children.push(spawn(binary, [], { env, stdio: "ignore" }));
    bases.push(`http://127.0.0.1:${port}`);
  }
  process.once("exit", () => children.forEach((child) => child.kill())); // whatever happens
  const broken = Promise.race(children.map(async (child) => {
    const [code] = await Promise.race([once(child, "exit"), once(child, "error")]);
    throw new Error(`${child.spawnfile} ended before the tests did: ${code}`);
  }));
  broken.catch(() => {});
  const ready = (base) => fetch(`${base}/readyz`).then(({ ok }) => ok, () => false);
  const allReady = async () => {
    const limit = Date.now() + 60_000;
    for (const base of bases) {
      while (!(await ready(base))) {
        if (Date.now() > limit) throw new Error(`${base} is not ready after 60 s`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  await Promise.race([allReady(), broken]);
  const stop = () => Promise.all(children.map((child) => (child.kill(), once(child, "exit"))));
  return { bases, stop };
}
