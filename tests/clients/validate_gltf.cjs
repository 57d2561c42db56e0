// Prints the glTF validator's report on one GLB or glTF as JSON. NODE_PATH names the folder of modules.
const fs = require("fs");
const path = require("path");
const validator = require("gltf-validator");

const read = (file) => new Uint8Array(fs.readFileSync(file));
const asset = process.argv[2];
const options = {
  maxIssues: 100,
  // the files that a glTF names lie beside it
  externalResourceFunction: async (uri) => read(path.join(path.dirname(asset), decodeURIComponent(uri))),
};

validator
  .validateBytes(read(asset), options)
  .then((report) => console.log(JSON.stringify(report)))
  .catch((error) => {
    console.error(String(error));
    process.exit(1);
  });
