// Receives webhooks and verifies each with the library of Standard Webhooks and the
// secret WEBHOOK_SECRET. It prints its address. It exits with status 0 after the number
// of deliveries in its argument, and with 1 if one fails the verification or an altered
// one passes.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const receiver = new Webhook(process.env.WEBHOOK_SECRET);
let expected = Number(process.argv[2]);

function verified(body, headers) {
  try {
    receiver.verify(body, headers);
    return true;
  } catch (error) {
    console.log(`${headers["webhook-id"]}: ${error.message}`);
    return false;
  }
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks).toString("utf8");
    const headers = request.headers;
    if (!verified(body, headers)) process.exit(1);
    if (verified(body.replace("{", "{ "), headers)) process.exit(1);
    console.log(`verified ${headers["webhook-id"]}`);
    response.writeHead(204).end(() => {
      if (--expected === 0) process.exit(0);
    });
  });
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
