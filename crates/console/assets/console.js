// Beyond HTML: times that count down, forms that are sent once, and the current page in view in the navigation. Every page works without it.

// The browser's clock may be wrong by hours: times are counted by the server's, as it was when the page was written.
const ahead = Date.now() - Number(document.documentElement.dataset.now ?? Date.now());

/** Writes the time that is left into each `<time data-until>`. */
function countDown() {
    for (const element of document.querySelectorAll('time[data-until]')) {
        const seconds = Math.floor((Date.parse(element.dateTime) - Date.now() + ahead) / 1000);
        if (Number.isNaN(seconds)) {
            continue;
        }
        element.textContent = left(seconds);
        element.toggleAttribute('data-soon', seconds < 60);
        element.title = new Date(element.dateTime).toLocaleString();
    }
}

/** A number of seconds in words. */
function left(seconds) {
    if (seconds <= 0) {
        return 'time is over';
    }
    if (seconds < 60) {
        return `${seconds} s left`;
    }
    const minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${minutes} min left` : `${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
}

// On a phone the navigation is wider than the page.
document.querySelector('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });

// A second click must not send a second request; the button is disabled after its value is taken.
document.addEventListener('submit', (event) => {
    if (event.target.dataset.sent) {
        event.preventDefault();
        return;
    }
    event.target.dataset.sent = 'true';
    for (const button of event.target.querySelectorAll('button')) {
        button.setAttribute('aria-disabled', 'true');
    }
});

// A page that the browser kept shows the state of then; the form can be sent again after a return to it.
window.addEventListener('pageshow', (event) => {
    if (event.persisted) {
        window.location.reload();
    }
});

countDown();
setInterval(countDown, 1000);
