import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ExecutionContext } from 'ava';

/** What a diagnostics channel tells from now on, in order, until the test ends. */
export function messagesOf<T>(t: ExecutionContext, channel: string): T[] {
  const messages: T[] = [];
  const listener = (message: unknown) => messages.push(message as T);
  subscribe(channel, listener);
  t.teardown(() => unsubscribe(channel, listener));
  return messages;
}
