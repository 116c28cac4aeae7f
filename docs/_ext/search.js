// Sphinx includes this in language_data.js, which the search page loads after searchtools.js.

// Of pages that match equally well, those that say what to do come first. The first entry counts.
const weights = {
  "about/": -20,
  "start/upgrade": -8,
  "reference/contract": -6,
  "reference/errors": 0,
  "reference/options": 0,
  "reference/api/whisperr": 3,
  "reference/": -3,
  "delivery/": 2,
  "develop/": 4,
  "frameworks/": 2,
  "trouble/": 1,
};

// Sphinx gives up to 15 points to a heading, and up to 100 to an entry of the index.
Scorer.score = (result) => {
  const [docname, title, anchor, , score, filename, kind] = result;
  const [, weight] = Object.entries(weights).find(([start]) => docname.startsWith(start)) ?? [, 0];
  if (kind === SearchResultKind.index) {
    result[1] = getTitle(filename, anchor) ?? title;
    return score / 5 + weight;
  }
  const isWholeHeading = kind === SearchResultKind.title && score >= Scorer.title;
  return score + (isWholeHeading ? 10 : 0) + weight;
};

// The title of a section as Sphinx shows it where a heading matches: "Page > Section".
const getTitle = (filename, anchor) => {
  const { alltitles, filenames, titles } = Search._index;
  const file = filenames.indexOf(filename);
  for (const [title, places] of Object.entries(alltitles))
    if (title !== titles[file] && places.some(([other, id]) => other === file && `#${id}` === anchor))
      return `${titles[file]} > ${title}`;
};

// A page must have every word of a search, and no page has the words of a question.
const inQuestions = new Set(
  "a an are can do does how i is it mean my of on the to use we what when where which why with you".split(" "),
);
const getSubject = (query) => {
  const words = query.split(/\s+/).filter((word) => !inQuestions.has(word.toLowerCase().replace(/\W+$/, "")));
  return words.join(" ") || query;
};

// The status of an answer is a word.
const parseWords = Search._parseQuery;
Search._parseQuery = (query) => {
  const parsed = parseWords(getSubject(query));
  const [, terms, , highlighted] = parsed;
  for (const number of splitQuery(query).filter((word) => /^\d{3}$/.test(word))) {
    terms.add(number);
    highlighted.add(number);
  }
  return parsed;
};
