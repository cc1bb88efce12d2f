// Looks at the page in Chromium, as people do, and says what it finds.
//
// Takes {chromium, scenes: [{name, url, language}], form, folder}: each scene is looked at wide and narrow, light and dark; with
// a folder, a picture of each goes there. Where there is a form a name is typed into it, else each scene is printed. Says
// {views: [...], prints: [...], typed: {...}}. axe-core judges whether everybody can use it.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = [1280, 320];
const SCHEMES = ["light", "dark"];

// What a page says, whether it is wider than its window, and what axe has against it. The devtools protocol puts axe in, past
// the page's Content-Security-Policy.
async function judge(page) {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations, incomplete } = await globalThis.axe.run();
    const brief = (found) => found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    const root = document.documentElement;
    return {
      title: document.title,
      text: document.body.innerText,
      language: root.lang,
      paper: getComputedStyle(document.body).backgroundColor,
      scripts: document.scripts.length,
      overflow: root.scrollWidth - root.clientWidth,
      violations: brief(violations),
      incomplete: brief(incomplete),
    };
  });
}

async function look(browser, { name, url, language }, width, colorScheme, folder) {
  const context = await browser.newContext({ colorScheme, locale: language, viewport: { width, height: 800 } });
  const page = await context.newPage();
  const requests = [];
  const complaints = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => complaints.push(message.text()));
  const answer = await page.goto(url);
  if (folder) {
    await page.screenshot({ path: `${folder}/${name}-${width}-${colorScheme}.png`, fullPage: true });
  }
  const found = await judge(page);
  await context.close();
  return { name, width, colorScheme, status: answer.status(), requests, complaints, ...found };
}

// What comes out of a printer, of a browser that is set to dark: the colours, whether it is wider than the paper, and the PDF.
async function print(browser, { name, url, language }, folder) {
  const context = await browser.newContext({ colorScheme: "dark", locale: language, viewport: { width: 700, height: 990 } });
  const page = await context.newPage();
  await page.goto(url);
  await page.emulateMedia({ media: "print" });
  const found = await page.evaluate(() => {
    const root = document.documentElement;
    const fills = [...document.querySelectorAll("rect")].map((rect) => getComputedStyle(rect).fill);
    return {
      paper: getComputedStyle(document.body).backgroundColor,
      ink: getComputedStyle(document.body).color,
      fills: [...new Set(fills)],
      overflow: root.scrollWidth - root.clientWidth,
    };
  });
  const pdf = await page.pdf({ format: "A4", ...(folder ? { path: `${folder}/${name}.pdf` } : {}) });
  await context.close();
  const pages = pdf.toString("latin1").match(/\/Type\s*\/Page\b/g) ?? [];
  return { name, pages: pages.length, ...found };
}

// Asks as one does who has no mouse: the form has the focus, and Enter sends it; where each Tab leads is said too.
async function type(browser, url, text) {
  const page = await browser.newPage({ locale: "en", javaScriptEnabled: false });
  await page.goto(url);
  await page.locator("#name:focus").waitFor(); // the browser gives the form the focus when it first draws the page
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
  await page.waitForURL(/name=/);
  const found = { url: page.url(), heading: await page.locator("#result").innerText(), said: await page.locator("main").innerText() };
  const focused = [];
  for (let press = 0; press < 6; press += 1) {
    await page.keyboard.press("Tab");
    focused.push(await page.locator(":focus").evaluateAll((found) => found.map(({ tagName }) => tagName).join()));
  }
  await page.close();
  return { ...found, focused };
}

const { chromium: executablePath, scenes, form, text, folder } = JSON.parse(process.argv[2]);
// Root has no sandbox of Chromium's, and a container no large /dev/shm.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const views = [];
  const prints = [];
  for (const scene of scenes) {
    for (const width of WIDTHS) {
      for (const scheme of SCHEMES) {
        views.push(await look(browser, scene, width, scheme, folder));
      }
    }
    if (!form) {
      prints.push(await print(browser, scene, folder));
    }
  }
  const typed = form ? await type(browser, form, text) : null;
  process.stdout.write(JSON.stringify({ views, prints, typed }));
} finally {
  await browser.close();
}
