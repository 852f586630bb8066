import { Metadata, type StatusObject, status } from '@grpc/grpc-js';
import type { HttpFailure } from '../http/errors.js';

/** What of HTTP's statuses is which of gRPC's. All others are INTERNAL. */
const ofHttp: Readonly<Record<number, status>> = {
  400: status.INVALID_ARGUMENT,
  401: status.UNAUTHENTICATED,
  403: status.PERMISSION_DENIED,
  404: status.NOT_FOUND,
  408: status.DEADLINE_EXCEEDED,
  413: status.RESOURCE_EXHAUSTED,
  422: status.INVALID_ARGUMENT,
  429: status.RESOURCE_EXHAUSTED,
  499: status.CANCELLED,
  501: status.UNIMPLEMENTED,
  503: status.UNAVAILABLE,
  504: status.DEADLINE_EXCEEDED,
};

/** Headers of HTTP/2 are not made for long texts; a list of a thousand labels would be one. */
const longestDetails = 2000;

/** A failure as gRPC tells it: the message as details, and behind the answer `gradcam-code`, and when to try again. */
export function statusOf({ status: http, body }: HttpFailure, retryAfter: () => number): StatusObject {
  const metadata = new Metadata();
  metadata.set('gradcam-code', body.code);
  // As clients of gRPC read it that try again by themselves.
  if (http === 503) metadata.set('grpc-retry-pushback-ms', String(retryAfter() * 1000));
  const { error } = body;
  const details = error.length > longestDetails ? `${error.slice(0, longestDetails - 3)}...` : error;
  // A pair of UTF-16 that was cut in two cannot be sent.
  return { code: ofHttp[http] ?? status.INTERNAL, details: Buffer.from(details).toString(), metadata };
}

export function statusName(code: status): string {
  return status[code] ?? String(code);
}
