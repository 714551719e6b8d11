/** Reads a frame of `fixtures/dhcp`. */
export function dhcpFixture(name: string): Uint8Array {
  const url = new URL(`../../fixtures/dhcp/${name}.hex`, import.meta.url);
  const digits = Deno.readTextFileSync(url).replace(/\s+/g, "");
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
