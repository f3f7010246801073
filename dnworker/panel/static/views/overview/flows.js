// Where the overview shows the busiest flows of the map.

export function BusiestFlows() {
  return null;
}
