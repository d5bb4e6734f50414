// A clock that stands still while the machine does not run this program: a moment that others have the processors is no
// delay of the server's. It counts in milliseconds, and goes in steps of 20.
const TICK = 20;
let own = 0, last = performance.now();
setInterval(() => {
  const now = performance.now();
  own += Math.min(now - last, 2 * TICK);
  last = now;
}, TICK).unref();

export const clock = () => own;

// What the promise gives, or a failure when it has not come within so many milliseconds of this clock.
export async function soon(what, promise, limit) {
  const from = own;
  let timer;
  const late = new Promise((_, fail) => {
    timer = setInterval(() => own - from > limit && fail(new Error(`${what}: nothing within ${limit / 1000} s`)), TICK);
  });
  return await Promise.race([promise, late]).finally(() => clearInterval(timer));
}
