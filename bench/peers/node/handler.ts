// The create endpoint in typical Node.js: Powertools for AWS Lambda, the AWS SDK, zod
// and jose, used as their documentation recommends.
import { randomUUID } from 'node:crypto';
import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics, MetricUnit } from '@aws-lambda-powertools/metrics';
import { ConditionalCheckFailedException, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, PutCommand } from '@aws-sdk/lib-dynamodb';
import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose';
import { z } from 'zod';

const logger = new Logger({ serviceName: 'syncs' });
const metrics = new Metrics({ namespace: 'Syncplane', serviceName: 'syncs' });
const client = DynamoDBDocumentClient.from(
  new DynamoDBClient({ endpoint: process.env.AWS_ENDPOINT_URL_DYNAMODB, region: process.env.AWS_REGION }),
  { marshallOptions: { removeUndefinedValues: true } },
);
const keys = createLocalJWKSet(JSON.parse(process.env.TOKEN_JWKS!));
const id = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const body = z.object({
  sync: z.object({
    source_id: id,
    destination_id: id,
    model_id: id,
    schedule_type: z.literal('automated'),
    configuration: z.record(z.string(), z.unknown()),
    stream_name: z.string().trim().min(1).max(255),
    sync_mode: z.literal('full_refresh'),
    sync_interval: z.number().int().min(1).max(527040),
    sync_interval_unit: z.literal('minutes'),
    cron_expression: z.string().regex(/^(\S+ ){4}\S+$/).optional(),
    cursor_field: z.string().max(255).optional(),
  }),
});

/** What is read of an API Gateway event (payload format 2.0). */
interface Event {
  headers?: Record<string, string | undefined>;
  body?: string;
  isBase64Encoded?: boolean;
}

interface Answer {
  statusCode: number;
  headers: Record<string, string>;
  body: string;
}

const answer = (statusCode: number, value: unknown): Answer => ({
  statusCode,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
});

export const handler = async (event: Event, context: Parameters<Logger['addContext']>[0]): Promise<Answer> => {
  logger.addContext(context);
  const began = performance.now();
  let result: Answer;
  try {
    result = await create(event);
  } catch (error) {
    logger.error('request failed', error as Error);
    result = answer(500, { errors: [{ status: '500', code: 'internal' }] });
  }
  metrics.addMetric(`Requests${Math.floor(result.statusCode / 100)}xx`, MetricUnit.Count, 1);
  metrics.addMetric('Latency', MetricUnit.Milliseconds, performance.now() - began);
  metrics.publishStoredMetrics();
  logger.info('request', { status: result.statusCode });
  return result;
};

async function create(event: Event): Promise<Answer> {
  const token = event.headers?.authorization?.replace(/^Bearer /i, '');
  let claims: JWTPayload;
  try {
    ({ payload: claims } = await jwtVerify(token ?? '', keys, {
      issuer: process.env.TOKEN_ISSUER,
      audience: process.env.TOKEN_AUDIENCE,
      algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    }));
  } catch {
    return answer(401, { errors: [{ status: '401', code: 'invalid_token' }] });
  }
  if (!claims.workspace_id || !String(claims.scope).split(' ').includes('syncs:write')) {
    return answer(403, { errors: [{ status: '403', code: 'insufficient_scope' }] });
  }
  const parsed = body.safeParse(JSON.parse(event.body ?? ''));
  if (!parsed.success) {
    return answer(422, { errors: parsed.error.issues.map((i) => ({ status: '422', code: i.code, detail: i.message })) });
  }
  const now = new Date().toISOString();
  const sync = { ...parsed.data.sync, status: 'pending', created_at: now, updated_at: now };
  const syncID = randomUUID();
  try {
    await client.send(new PutCommand({
      TableName: process.env.TABLE_NAME,
      Item: { pk: claims.workspace_id, sk: `SYNC#${syncID}`, ...sync, configuration: JSON.stringify(sync.configuration) },
      ConditionExpression: 'attribute_not_exists(pk)',
    }));
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) {
      return answer(409, { errors: [{ status: '409', code: 'already_exists' }] });
    }
    throw error;
  }
  return answer(200, { id: syncID, type: 'syncs', attributes: sync });
}
