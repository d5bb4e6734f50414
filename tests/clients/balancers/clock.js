// A clock that stops while the machine does not run this program: time in which other processes have the processors is not a
// delay of the server's. It counts milliseconds, in steps of 20.
const TICK = 20;
let own = 0, last = performance.now();
setInterval(() => {
  const now = performance.now();
  own += Math.min(now - last, 2 * TICK);
  last = now;
}, TICK).unref();

export const clock = () => own;

// Awaits the promise. Fails if that takes more than `limit` milliseconds of this clock.
export async function soon(what, promise, limit) {
  const from = own;
  let timer;
  const late = new Promise((_, fail) => {
    timer = setInterval(() => own - from > limit && fail(new Error(`${what}: nothing within ${limit / 1000} s`)), TICK);
  });
  return await Promise.race([promise, late]).finally(() => clearInterval(timer));
}
