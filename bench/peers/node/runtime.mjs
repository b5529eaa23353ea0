// A minimal client of the Lambda Runtime API. It does less than the managed runtime, so
// it can only make the handler look faster.
import http from 'node:http';
import { handler } from './handler.ts';

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true });
const call = (method, path, body) =>
  new Promise((resolve, reject) => {
    const request = http.request({ host, port, method, path: `/2018-06-01/runtime/invocation/${path}`, agent }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(chunks).toString() }));
    });
    request.on('error', reject);
    request.end(body);
  });

for (;;) {
  const { headers, body } = await call('GET', 'next');
  const awsRequestId = headers['lambda-runtime-aws-request-id'];
  const context = {
    awsRequestId,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: '$LATEST',
    memoryLimitInMB: '512',
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    getRemainingTimeInMillis: () => Number(headers['lambda-runtime-deadline-ms']) - Date.now(),
  };
  await call('POST', `${awsRequestId}/response`, JSON.stringify(await handler(JSON.parse(body), context)));
}
