import { useEffect, useRef, useState } from 'preact/hooks';
import { type Answer, explain, type Wanted } from './explain-client.js';

/** What is to be explained; a change of it makes all answers out of date. */
export interface Question {
  readonly model: string;
  readonly picture: Blob;
  readonly layers: readonly string[];
  /** Empty: what the model is surest of. */
  readonly wanted: Wanted;
}

export interface Explained {
  readonly answer: Answer | null;
  readonly error: unknown;
  /** An answer to an earlier question, shown until the new one is there. */
  readonly stale: boolean;
}

/** The answers of several methods to one question. Each is asked once; a new question drops what is under way. */
export function useExplanations(
  question: Question | null,
  methods: readonly string[],
): ReadonlyMap<string, Explained> {
  const [answers, setAnswers] = useState<ReadonlyMap<string, Explained>>(new Map());
  const running = useRef({ question, asked: new Set<string>(), end: new AbortController() });

  useEffect(() => {
    if (running.current.question !== question) {
      running.current.end.abort();
      running.current = { question, asked: new Set(), end: new AbortController() };
      setAnswers(
        (before) => new Map([...before].map(([method, each]) => [method, { ...each, stale: true }])),
      );
    }
    if (!question) return;
    const { asked, end } = running.current;
    const set = (method: string, explained: Explained) => {
      if (!end.signal.aborted) setAnswers((before) => new Map(before).set(method, explained));
    };
    for (const method of methods) {
      if (asked.has(method)) continue;
      asked.add(method);
      explain(question.model, question.picture, { ...question, method }, end.signal).then(
        (answer) => set(method, { answer, error: null, stale: false }),
        (error: unknown) => {
          asked.delete(method);
          set(method, { answer: null, error, stale: false });
        },
      );
    }
  }, [question, methods]);

  return answers;
}
