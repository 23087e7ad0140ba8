/** Text whose parts between backticks, such as commands, are set as code. */
export function Coded({ children }: { children: string }) {
  return <>{children.split('`').map((part, n) => (n % 2 === 1 ? <code key={n}>{part}</code> : part))}</>;
}
