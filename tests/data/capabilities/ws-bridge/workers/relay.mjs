#!/usr/bin/env node
// Says what it hears.
const url = process.env.DREADNODE_RUNTIME_URL;
console.log(`relay for ${url}`);
setInterval(() => {}, 1000);
