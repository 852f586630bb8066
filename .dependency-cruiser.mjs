import { configuration } from './tools/checks/rooms/typescript.mjs';

// The rules of imports, which are the table of rooms in docs/architecture.md. npm run check:rooms tells more than depcruise.
export default configuration(import.meta.dirname);
