// Reads custom resources from stdin (a JSON list) and writes for each what is wrong with it, a JSON list of lists.
//
//   node validate.mjs NODE_MODULES < objects.json
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const packages = {
  "cert-manager.io/v1": "cert-manager",
  "gateway.networking.k8s.io/v1": "gateway-api",
  "keda.sh/v1alpha1": "keda",
  "monitoring.coreos.com/v1": "prometheus-operator",
};
const home = `${pathToFileURL(process.argv[2])}/@kubernetes-models`;
const models = {};
for (const [version, name] of Object.entries(packages)) {
  models[version] = await import(`${home}/${name}/${version}/index.js`);
}

// The validators pass over fields that they do not know. So each object tells which of its fields were looked at.
function watch(value, path, unread) {
  if (typeof value !== "object" || value === null) return value;
  const children = Array.isArray(value) ? [] : {};
  for (const [key, child] of Object.entries(value)) {
    children[key] = watch(child, `${path}/${key}`, unread);
    if (!Array.isArray(value)) unread.add(`${path}/${key}`);
  }
  return new Proxy(children, {
    get(target, key) {
      unread.delete(`${path}/${String(key)}`);
      return target[key];
    },
  });
}

function faults(object) {
  const model = models[object.apiVersion]?.[object.kind];
  if (!model) return ["no schema"];
  const unread = new Set();
  try {
    model.prototype.validate.call(watch(object, "", unread));
  } catch (error) {
    return error.message.split(", ");
  }
  return [...unread].map((path) => `${path} is no field`);
}

const objects = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(objects.map(faults)));
