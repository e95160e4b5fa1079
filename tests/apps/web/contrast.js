// Returns texts whose contrast with their ground is below WCAG 2.1 AA: 4.5, or 3 for large text. What is disabled is exempt (1.4.3).
() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const channels = colour => {  // whatever way it is written in
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const linear = value => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const over = (top, below) => {
    return [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  };
  const ground = element => {
    const layers = [];
    const text = element.getBoundingClientRect(), x = text.x + text.width / 2, y = text.y + text.height / 2;
    for (let one = element; one; one = one.parentElement) {
      const box = one.getBoundingClientRect();  // a slider's value is a child of its thumb, and stands beside it
      const isBehind = box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
      if (isBehind || one === document.body) layers.unshift(channels(getComputedStyle(one).backgroundColor));
    }
    return layers.reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const opacity = element => {
    let product = 1;
    for (let one = element; one; one = one.parentElement) product *= Number(getComputedStyle(one).opacity);
    return product;
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    const style = element && getComputedStyle(element), box = element && element.getBoundingClientRect();
    if (!text || !box.width || opacity(element) < 0.05 ||  // as the ends of a slider, until it is pointed at
        style.visibility === 'hidden' || element.closest('script,style,noscript,[aria-hidden=true]')) continue;
    if (element.closest('[disabled],[aria-disabled=true]') || element.closest('label')?.querySelector('input:disabled')) continue;
    const below = ground(element), ink = channels(style.color), alpha = ink[3] * opacity(element);
    const [a, b] = [luminance(over([ink[0], ink[1], ink[2], alpha], below)), luminance(below)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    if (contrast < (size >= 24 || (bold && size >= 18.66) ? 3 : 4.5)) low.push(`${text.slice(0, 60)}: ${contrast.toFixed(2)}`);
  }
  return low;
}
