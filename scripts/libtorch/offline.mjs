/** Why nothing may be downloaded: a setting of ours, or `npm install --offline`. Null where it may. */
export function offlineReason(env) {
  if (env.GRADCAM_OFFLINE === '1') return 'GRADCAM_OFFLINE=1';
  if (env.npm_config_offline === 'true') return "npm's --offline";
  return null;
}
